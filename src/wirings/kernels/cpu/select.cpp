// Exact top-k. Evenly spaced scores tell between which two the k-th largest should lie; one pass keeps what is between
// them and counts what is above. Where it does not lie there, or scores are few, by radix: three to six passes of counting,
// no sort. Ties go to the lower index, and a NaN is reported.
#include <algorithm>
#include <cmath>
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

// The k-th largest key, how many keys are equal to it, and how many of those belong to the k largest.
template <class T>
struct Threshold {
    typename KeyOf<T>::type key;
    int64_t ties, equal;
    bool nan, found;
};

constexpr int64_t BLOCK = 64;
constexpr int64_t SAMPLE = 1 << 14;
constexpr int64_t WORTH = 8 * SAMPLE;  // scores from which on a sample pays

// Calls hit(place in the block) for every byte of a block that is set, looking only where some is.
template <class Hit>
INLINE void each_set(const uint8_t* some, Hit&& hit) {
    for (int eight = 0; eight < BLOCK; eight += 8) {
        uint64_t any;
        std::memcpy(&any, some + eight, 8);
        if (!any) continue;
        for (int i = eight; i < eight + 8; i++) {
            if (some[i]) hit(i);
        }
    }
}

template <class T>
Threshold<T> by_sample(const T* scores, int64_t n, int64_t k, bool absolute, int64_t threads) {
    using K = typename KeyOf<T>::type;
    std::vector<K> sample(SAMPLE);
    for (int64_t i = 0; i < SAMPLE; i++) sample[static_cast<std::size_t>(i)] = key(scores[int64_t(double(n) * i / SAMPLE)], absolute);
    const double share = double(k) / double(n);
    const int64_t rank = int64_t(share * SAMPLE), beside = 4 + int64_t(4 * std::sqrt(SAMPLE * share * (1 - share)));
    auto ranked = [&](int64_t from_top) {  // the sample's key of this rank; none above the first and below the last
        auto place = sample.begin() + (SAMPLE - 1 - from_top);
        std::nth_element(sample.begin(), place, sample.end());
        return *place;
    };
    const K high = rank - beside < 0 ? ~K(0) : ranked(rank - beside), low = rank + beside >= SAMPLE ? K(0) : ranked(rank + beside);
    if (low == high) return {0, 0, 0, false, false};  // as many are equal: there is nothing to keep apart
    std::vector<std::vector<K>> kept(static_cast<std::size_t>(threads));
    std::vector<int64_t> above(static_cast<std::size_t>(threads));
    std::vector<char> saw(static_cast<std::size_t>(threads)), full(static_cast<std::size_t>(threads));
    team(threads, [&](int member, int size) {
        Range mine = part(n, member, size, BLOCK);
        std::vector<K>& own = kept[static_cast<std::size_t>(member)];
        const std::size_t room = static_cast<std::size_t>((mine.last - mine.first) / 8);  // the sample was misleading beyond it
        own.reserve(room / 2);
        int64_t more = 0;
        bool bad = false;
        for (int64_t begin = mine.first; begin < mine.last && own.size() <= room; begin += BLOCK) {
            const T* s = scores + begin;
            uint8_t inside[BLOCK] = {};
            K over = 0, wrong = 0;
            auto look = [&](int64_t have) INLINE_LAMBDA {
                for (int64_t i = 0; i < have; i++) {
                    K q = key(s[i], absolute);
                    over += q > high;
                    wrong |= is_nan<T>(q);
                    inside[i] = (q >= low) & (q <= high);
                }
            };
            if (mine.last - begin >= BLOCK) {
                look(BLOCK);
            } else {
                look(mine.last - begin);
            }
            more += int64_t(over);
            bad |= wrong != 0;
            each_set(inside, [&](int i) { own.push_back(key(s[i], absolute)); });
        }
        above[static_cast<std::size_t>(member)] = more;
        saw[static_cast<std::size_t>(member)] = bad;
        full[static_cast<std::size_t>(member)] = own.size() > room;
    });
    int64_t left = k;
    std::vector<K> between;
    for (std::size_t m = 0; m < kept.size(); m++) {
        if (full[m]) return {0, 0, 0, false, false};
        if (saw[m]) return {0, 0, 0, true, true};
        left -= above[m];
        between.insert(between.end(), kept[m].begin(), kept[m].end());
    }
    const int64_t count = int64_t(between.size());
    if (left <= 0 || left > count) return {0, 0, 0, false, false};
    std::nth_element(between.begin(), between.begin() + (count - left), between.end());
    const K found = between[static_cast<std::size_t>(count - left)];
    int64_t more = 0, same = 0;
    for (K q : between) {
        more += q > found;
        same += q == found;
    }
    return {found, left - more, same, false, true};
}

template <class T>
Threshold<T> threshold(const T* scores, int64_t n, int64_t k, bool absolute, int64_t threads) {
    using K = typename KeyOf<T>::type;
    if (n >= WORTH) {
        Threshold<T> found = by_sample(scores, n, k, absolute, threads);
        if (found.found) return found;
    }
    constexpr int BITS = sizeof(K) * 8;
    K prefix = 0;
    int shift = BITS;
    int64_t left = k, equal = 0;
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
            if (nan) return {0, 0, 0, true, true};
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
        equal = here;
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
    return {prefix, left, equal, false, true};
}

// Walks the scores in order on every thread and calls take(i, how many were chosen before) for each of the k chosen.
template <class T, class Take>
void choose(const T* scores, int64_t n, Threshold<T> t, bool absolute, int64_t threads, Take&& take) {
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
            each_set(candidate, [&](int i) {
                if (key(scores[begin + i], absolute) == t.key && ties-- <= 0) return;
                take(begin + i, place++);
            });
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
        if (t.ties < t.equal) {
            choose<T>(s, n, t, absolute != 0, threads, [&](int64_t i, int64_t) { mask[i] = 1; });
            return;
        }
        team(threads, [&](int member, int size) {  // no tie is cut: whatever is not below
            Range mine = part(n, member, size, BLOCK);
            const bool sizes = absolute != 0;
            for (int64_t i = mine.first; i < mine.last; i++) mask[i] = key(s[i], sizes) >= t.key;
        });
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
