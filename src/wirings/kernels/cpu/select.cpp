// Exact top-k by radix: three to six passes of counting, no sort. Ties go to the lower index, and a NaN is reported.
#include <algorithm>
#include <cstring>
#include <vector>

#include "common.h"

namespace wirings {
namespace {

constexpr int DIGIT = 11, BINS = 1 << DIGIT;

template <class T>
struct KeyOf;
template <>
struct KeyOf<float> {
    using type = uint32_t;
    static constexpr type nan_above = 0xff800000u;  // keys of NaNs, once signs are folded
};
template <>
struct KeyOf<double> {
    using type = uint64_t;
    static constexpr type nan_above = 0xfff0000000000000ull;
};

// A number whose order as an unsigned integer is the order of the scores; -0 and 0 have the same.
template <class T>
inline typename KeyOf<T>::type key(T x, bool absolute) {
    using K = typename KeyOf<T>::type;
    constexpr K top = K(1) << (sizeof(K) * 8 - 1);
    K bits;
    x += T(0);  // -0 becomes 0
    std::memcpy(&bits, &x, sizeof bits);
    if (absolute) return bits | top;
    return bits & top ? ~bits : bits | top;
}

template <class T>
bool is_nan(typename KeyOf<T>::type k) {
    using K = typename KeyOf<T>::type;
    constexpr K infinity = KeyOf<T>::nan_above;
    return k > infinity || k < K(~infinity);
}

// The k-th largest key, and how many of the keys equal to it belong to the k largest.
template <class T>
struct Threshold {
    typename KeyOf<T>::type key;
    int64_t ties;
    bool nan;
};

template <class T>
Threshold<T> threshold(const T* scores, int64_t n, int64_t k, bool absolute, int64_t threads) {
    using K = typename KeyOf<T>::type;
    constexpr int BITS = sizeof(K) * 8;
    K prefix = 0;
    int shift = BITS;
    int64_t left = k;
    std::vector<int64_t> counts(static_cast<std::size_t>(threads) * BINS);
    bool nan = false;
    std::vector<K> kept;  // keys that share the prefix, once they are few
    bool compact = false;
    while (shift > 0) {
        int width = std::min(DIGIT, shift);
        bool first = shift == BITS;
        int next = shift - width;
        K digit_mask = (K(1) << width) - 1;
        std::fill(counts.begin(), counts.end(), 0);
        if (compact) {
            for (K q : kept) counts[(q >> next) & digit_mask]++;
        } else {
            std::vector<char> saw(static_cast<std::size_t>(threads), 0);
            team(threads, [&](int member, int size) {
                Range mine = part(n, member, size, 64);
                int64_t* own = counts.data() + int64_t(member) * BINS;
                bool bad = false;
                if (first) {
                    uint32_t two[2][BINS] = {};  // two tables: runs of equal digits do not wait for each other
                    for (int64_t begin = mine.first; begin < mine.last; begin += 1 << 30) {
                        int64_t end = std::min<int64_t>(mine.last, begin + (1 << 30)), i = begin;
                        for (; i + 2 <= end; i += 2) {
                            K a = key(scores[i], absolute), b = key(scores[i + 1], absolute);
                            bad |= is_nan<T>(a) | is_nan<T>(b);
                            two[0][a >> next]++;
                            two[1][b >> next]++;
                        }
                        for (; i < end; i++) {
                            K a = key(scores[i], absolute);
                            bad |= is_nan<T>(a);
                            two[0][a >> next]++;
                        }
                        for (int d = 0; d < BINS; d++) {
                            own[d] += int64_t(two[0][d]) + two[1][d];
                            two[0][d] = two[1][d] = 0;
                        }
                    }
                } else {
                    for (int64_t i = mine.first; i < mine.last; i++) {
                        K a = key(scores[i], absolute);
                        if (a >> shift == prefix >> shift) own[(a >> next) & digit_mask]++;
                    }
                }
                saw[static_cast<std::size_t>(member)] = bad;
            });
            for (char s : saw) nan |= s != 0;
            if (nan) return {0, 0, true};
        }
        int64_t digit = int64_t(digit_mask), here = 0;
        for (;; digit--) {
            here = 0;
            for (int64_t t = 0; t < threads; t++) here += counts[static_cast<std::size_t>(t * BINS + digit)];
            if (here >= left || digit == 0) break;
            left -= here;
        }
        prefix |= K(digit) << next;
        shift = next;
        if (shift > 0 && (compact || here <= n / 16)) {
            std::vector<K> fewer;
            fewer.reserve(static_cast<std::size_t>(here));
            if (compact) {
                for (K q : kept) {
                    if (q >> shift == prefix >> shift) fewer.push_back(q);
                }
            } else {
                for (int64_t i = 0; i < n; i++) {
                    K q = key(scores[i], absolute);
                    if (q >> shift == prefix >> shift) fewer.push_back(q);
                }
            }
            kept.swap(fewer);
            compact = true;
        }
    }
    return {prefix, left, false};
}

// Walks the scores in order on every thread and calls take(i, how many were chosen before) for each of the k chosen.
template <class T, class Take>
void choose(const T* scores, int64_t n, Threshold<T> t, bool absolute, int64_t threads, Take&& take) {
    constexpr int64_t BLOCK = 64;
    std::vector<int64_t> above(static_cast<std::size_t>(threads) + 1), equal(static_cast<std::size_t>(threads) + 1);
    team(threads, [&](int member, int size) {
        Range mine = part(n, member, size, BLOCK);
        int64_t more = 0, same = 0;
        if (size > 1) {  // alone there is nothing to hand over
            for (int64_t i = mine.first; i < mine.last; i++) {
                auto q = key(scores[i], absolute);
                more += q > t.key;
                same += q == t.key;
            }
        }
        above[static_cast<std::size_t>(member) + 1] = more;
        equal[static_cast<std::size_t>(member) + 1] = same;
        meet();
        int64_t ties = t.ties, place = 0;
        for (int m = 0; m < member; m++) {
            int64_t before = equal[static_cast<std::size_t>(m) + 1];
            place += above[static_cast<std::size_t>(m) + 1] + std::min(std::max<int64_t>(ties, 0), before);
            ties -= before;
        }
        for (int64_t begin = mine.first; begin < mine.last; begin += BLOCK) {
            uint8_t candidate[BLOCK] = {};  // comparing a block at once, then looking only where something was found
            int64_t have = std::min(BLOCK, mine.last - begin);
            for (int64_t i = 0; i < have; i++) candidate[i] = key(scores[begin + i], absolute) >= t.key;
            for (int64_t eight = 0; eight < BLOCK; eight += 8) {
                uint64_t any;
                std::memcpy(&any, candidate + eight, 8);
                if (!any) continue;
                for (int64_t i = begin + eight; i < begin + std::min(eight + 8, have); i++) {
                    if (!candidate[i - begin]) continue;
                    if (key(scores[i], absolute) == t.key && ties-- <= 0) continue;
                    take(i, place++);
                }
            }
        }
    });
}

}  // namespace
}  // namespace wirings

using namespace wirings;

// Sets the bools of the k highest of n scores (0 < k <= n) in a mask of zeros. Returns 1 when a score is NaN.
API int wirings_top_mask(int64_t real, const void* scores, int64_t n, int64_t k, int64_t absolute, uint8_t* mask, int64_t threads) {
    int nan = 0;
    int status = with_real(real, [&](auto r) {
        using T = decltype(r);
        const T* s = static_cast<const T*>(scores);
        auto t = threshold<T>(s, n, k, absolute != 0, threads);
        nan = t.nan;
        if (nan) return;
        choose<T>(s, n, t, absolute != 0, threads, [&](int64_t i, int64_t) { mask[i] = 1; });
    });
    return status ? status : nan;
}

// The places of the k largest scores, ascending. Returns 1 when a score is NaN.
API int wirings_top_index(int64_t real, const void* scores, int64_t n, int64_t k, int64_t absolute, int64_t* index, int64_t threads) {
    int nan = 0;
    int status = with_real(real, [&](auto r) {
        using T = decltype(r);
        const T* s = static_cast<const T*>(scores);
        auto t = threshold<T>(s, n, k, absolute != 0, threads);
        nan = t.nan;
        if (nan) return;
        choose<T>(s, n, t, absolute != 0, threads, [&](int64_t i, int64_t place) { index[place] = i; });
    });
    return status ? status : nan;
}

// Appends every |scores[i]| > above, and its place first + i, for i ascending; returns how many, or -1 - (their number) when
// more than `room` would be needed, or INT64_MIN when a score is NaN. `skip` (ascending, flat) names places left out.
API int64_t wirings_collect(int64_t real, const void* scores, int64_t n, int64_t first, double above, const int64_t* skip,
                            int64_t skips, void* values, int64_t* places, int64_t room) {
    int64_t found = 0;
    bool nan = false;
    with_real(real, [&](auto r) {
        using T = decltype(r);
        const T* s = static_cast<const T*>(scores);
        T* out = static_cast<T*>(values);
        const T bar = static_cast<T>(above);
        int64_t q = 0;
        for (int64_t i = 0; i < n; i++) {
            T size = s[i] < 0 ? -s[i] : s[i];
            if (size <= bar) continue;
            int64_t place = first + i;
            while (q < skips && skip[q] < place) q++;
            if (q < skips && skip[q] == place) continue;
            nan |= size != size;
            if (found < room) {
                out[found] = size;
                places[found] = place;
            }
            found++;
        }
    });
    if (nan) return INT64_MIN;
    return found <= room ? found : -1 - found;
}
