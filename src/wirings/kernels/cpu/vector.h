// One vector of the widest kind this build knows, written with the compiler's vector extensions so that the same text
// serves AVX-512, AVX2, SSE2, NEON and anything else GCC or Clang can lower.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#if !defined(WIRINGS_VECTOR_BYTES)
#if defined(__AVX512F__)
#define WIRINGS_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define WIRINGS_VECTOR_BYTES 32
#else
#define WIRINGS_VECTOR_BYTES 16
#endif
#endif

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

namespace wirings {

// Innermost extent of every panel: sixteen samples side by side, whatever the vector's own width.
constexpr int LANES = 16;

// bfloat16 as it is stored: the upper half of a float. Kernels widen it as they read, compute in float, and round once, as
// they write.
enum class bf16 : uint16_t {};

template <class S>
constexpr bool is_bf16 = std::is_same_v<S, bf16>;
// Samples side by side in planes of images: a line of the cache of float or bfloat16.
template <class S>
constexpr int LANES_OF = is_bf16<S> ? 2 * LANES : LANES;
// What numbers that are stored as S are computed in.
template <class S>
using Wide = std::conditional_t<is_bf16<S>, float, S>;

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
    typedef float type __attribute__((vector_size(WIRINGS_VECTOR_BYTES)));
};
template <>
struct VectorOf<double> {
    typedef double type __attribute__((vector_size(WIRINGS_VECTOR_BYTES)));
};

template <>
struct VectorOf<bf16> {  // to be moved about, not to compute with; no more than a strip is wide
    typedef uint16_t type __attribute__((vector_size(WIRINGS_VECTOR_BYTES < 32 ? WIRINGS_VECTOR_BYTES : 32)));
};

template <class T>
using Vector = typename VectorOf<T>::type;
template <class T>
constexpr int VL = sizeof(Vector<T>) / sizeof(T);

template <class T>
INLINE Vector<T> load(const T* p) {
    Vector<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <class T>
INLINE void store(T* p, Vector<T> v) {
    std::memcpy(p, &v, sizeof v);
}

// Holds what was read in a register. Without it GCC reads a vector that is used twice twice, from memory, since on x86 that
// looks free of charge.
template <class V>
INLINE void hold(V& v) {
#if defined(__AVX512F__)
    __asm__("" : "+v"(v));
#elif defined(__AVX__) && WIRINGS_VECTOR_BYTES <= 32
    __asm__("" : "+x"(v));
#else
    (void)v;
#endif
}

template <class T>
INLINE Vector<T> zero() {
    return Vector<T>{};
}

template <class T>
INLINE Vector<T> splat(T x) {
    return x - Vector<T>{};  // x - 0, not x + 0: keeps the sign of -0
}

template <class T>
INLINE Vector<T> positive_part(Vector<T> v) {
    return v < 0 ? Vector<T>{} : v;  // a NaN stays a NaN, as in torch.relu
}

typedef uint32_t Words __attribute__((vector_size(WIRINGS_VECTOR_BYTES)));
typedef uint16_t Halves __attribute__((vector_size(WIRINGS_VECTOR_BYTES / 2)));

// The upper halves of floats, where they are, rounded to the nearest, ties to even; below them anything.
INLINE Words upper_halves(Vector<float> v) {
    Words bits = (Words)v;
    return v == v ? bits + 0x7fff + (bits >> 16 & 1) : Words{} + 0x7fc00000;
}

INLINE float widened(bf16 x) {
    uint32_t bits = uint32_t(x) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}
template <class T>
INLINE T widened(T x) {
    return x;
}

template <class S>
INLINE S rounded(Wide<S> x) {
    if constexpr (is_bf16<S>) {
        uint32_t bits;
        std::memcpy(&bits, &x, sizeof bits);
        return bf16(x == x ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : 0x7fc0);
    } else {
        return x;
    }
}

// Vectors that `read` and `write` treat together where NV of them lie in a row: two of bfloat16, so that one load serves
// both.
template <class S, int NV>
constexpr int RUN = is_bf16<S> && NV % 2 == 0 ? 2 : 1;
// The same where as many as are wanted lie in a row, and the samples that they hold.
template <class S>
constexpr int TOGETHER = RUN<S, 2>;

// Widens R vectors of samples. Two of bfloat16 become the even and the odd samples: which lane holds which does not matter
// to kernels that treat all lanes alike, and `write` puts them back.
template <int R, class S>
INLINE void read(const S* p, Vector<Wide<S>>* v) {
    if constexpr (!is_bf16<S>) {
        v[0] = load(p);
    } else if constexpr (R == 2) {
        Words pairs;
        std::memcpy(&pairs, p, sizeof pairs);
        v[0] = (Vector<float>)(pairs << 16);
        v[1] = (Vector<float>)(pairs & 0xffff0000u);
    } else {
        Halves halves;
        std::memcpy(&halves, p, sizeof halves);
        v[0] = (Vector<float>)(__builtin_convertvector(halves, Words) << 16);
    }
}

template <int R, class S>
INLINE void write(S* p, const Vector<Wide<S>>* v) {
    if constexpr (!is_bf16<S>) {
        store(p, v[0]);
    } else if constexpr (R == 2) {
        Words pairs = upper_halves(v[0]) >> 16 | (upper_halves(v[1]) & 0xffff0000u);
        std::memcpy(p, &pairs, sizeof pairs);
    } else {
        Halves halves = __builtin_convertvector(upper_halves(v[0]) >> 16, Halves);
        std::memcpy(p, &halves, sizeof halves);
    }
}

// One of the vectors that read<TOGETHER<S>> gives, by itself.
template <class S>
INLINE Vector<Wide<S>> read_one(const S* p, int which) {
    Vector<Wide<S>> v[TOGETHER<S>];
    read<TOGETHER<S>>(p, v);
    return v[which];
}

#ifdef __AVX512BF16__
// What processors that multiply bfloat16 themselves do, a pair of neighbours at a time: sum + a0 b0 + a1 b1 in each lane of
// 32 bits. Numbers below the normal range count as zero.
INLINE Vector<float> add_pairs(Vector<float> sum, Words a, Words b) {
    return (Vector<float>)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

// The samples of two rows side by side: those that `low` holds and those that `high` does. `write_zipped` puts the sums of
// both back in order.
INLINE void zip(Words a, Words b, Words& low, Words& high) {
    low = (Words)_mm512_unpacklo_epi16((__m512i)a, (__m512i)b);
    high = (Words)_mm512_unpackhi_epi16((__m512i)a, (__m512i)b);
}
INLINE void read_zipped(const bf16* p, Vector<float>& low, Vector<float>& high) {
    const __m512i samples = _mm512_loadu_si512(p);
    low = (Vector<float>)_mm512_unpacklo_epi16(__m512i{}, samples);
    high = (Vector<float>)_mm512_unpackhi_epi16(__m512i{}, samples);
}
INLINE void write_zipped(bf16* p, Vector<float> low, Vector<float> high) {
    Words samples = (Words)_mm512_packus_epi32((__m512i)(upper_halves(low) >> 16), (__m512i)(upper_halves(high) >> 16));
    std::memcpy(p, &samples, sizeof samples);
}

INLINE Words words(const bf16* p) {
    Words w;
    std::memcpy(&w, p, sizeof w);
    return w;
}
// One number, or two neighbours, in every lane.
INLINE Words splat_one(const bf16* p) { return Words{} + uint32_t(*p); }
INLINE Words splat_two(const bf16* p) {
    uint32_t two;
    std::memcpy(&two, p, sizeof two);
    return Words{} + two;
}
template <class S>
constexpr bool PAIRED = is_bf16<S>;
#else
template <class S>
constexpr bool PAIRED = false;  // whether products are made by pairs
#endif

// The same as `read` and `write` of TOGETHER vectors, in the order in which sums over pairs of rows have them.
template <class S>
INLINE void read_sums(const S* p, Vector<Wide<S>>* v) {
#ifdef __AVX512BF16__
    if constexpr (PAIRED<S>) return read_zipped(p, v[0], v[1]);
#endif
    read<TOGETHER<S>>(p, v);
}
template <class S>
INLINE void write_sums(S* p, const Vector<Wide<S>>* v) {
#ifdef __AVX512BF16__
    if constexpr (PAIRED<S>) return write_zipped(p, v[0], v[1]);
#endif
    write<TOGETHER<S>>(p, v);
}

// `low` and `high` are the two halves of a butterfly over lanes whose number has bit `S` clear or set. Their pair
// transposes; their sum adds up. Lane l of low is a[l] or, with the bit set, b[l - S]; of high a[l + S] or b[l].
template <class T, int S, std::size_t... L>
INLINE Vector<T> low_lanes(Vector<T> a, Vector<T> b, std::index_sequence<L...>) {
    return __builtin_shufflevector(a, b, ((L & S) ? int(VL<T> + L - S) : int(L))...);
}
template <class T, int S, std::size_t... L>
INLINE Vector<T> high_lanes(Vector<T> a, Vector<T> b, std::index_sequence<L...>) {
    return __builtin_shufflevector(a, b, ((L & S) ? int(VL<T> + L) : int(L + S))...);
}
template <class T, int S>
INLINE Vector<T> low(Vector<T> a, Vector<T> b) {
    return low_lanes<T, S>(a, b, std::make_index_sequence<VL<T>>{});
}
template <class T, int S>
INLINE Vector<T> high(Vector<T> a, Vector<T> b) {
    return high_lanes<T, S>(a, b, std::make_index_sequence<VL<T>>{});
}
template <class T, int S>
INLINE Vector<T> fold(Vector<T> a, Vector<T> b) {
    return low<T, S>(a, b) + high<T, S>(a, b);
}

// Sums of the N vectors make(0) ... make(N - 1), in lanes 0 ... N - 1, in one fixed order. Depth first, so that only
// log2(N) vectors are alive at a time.
template <class T, int N, class F>
INLINE Vector<T> sum_tree(int first, F&& make) {
    if constexpr (N == 1) {
        return make(first);
    } else {
        Vector<T> a = sum_tree<T, N / 2>(first, make);
        Vector<T> b = sum_tree<T, N / 2>(first + N / 2, make);
        return fold<T, N / 2>(a, b);
    }
}
template <class T, int N>
INLINE Vector<T> finish_sums(Vector<T> v) {
    if constexpr (N < VL<T>) {
        return finish_sums<T, N * 2>(fold<T, N>(v, v));
    } else {
        return v;
    }
}
template <class T, int N, class F>
INLINE Vector<T> sums(F&& make) {
    return finish_sums<T, N>(sum_tree<T, N>(0, make));
}
template <class T>
INLINE T total(Vector<T> v) {
    return finish_sums<T, 1>(v)[0];
}

// Transposes VL x VL elements from rows `lda` apart to rows `ldb` apart.
template <class T, int S>
INLINE void butterfly(Vector<T>* r) {
    if constexpr (S < VL<T>) {
#pragma GCC unroll 16
        for (int i = 0; i < VL<T>; i++) {
            if (!(i & S)) {
                Vector<T> a = low<T, S>(r[i], r[i + S]), b = high<T, S>(r[i], r[i + S]);
                r[i] = a;
                r[i + S] = b;
            }
        }
        butterfly<T, S * 2>(r);
    }
}
template <class T>
INLINE void transpose(Vector<T>* r) {
    butterfly<T, 1>(r);
}

// x[c[0]], x[c[1]], ... as one vector, put together from single loads: on every processor measured that beat the gather
// instructions.
template <class T, class C, std::size_t... L>
INLINE Vector<T> gathered(const T* x, const C* c, std::index_sequence<L...>) {
    return Vector<T>{x[c[L]]...};
}

// The same four by four, where numbers are half words: four of them come with one load. Vectors are joined as they grow, or
// compilers run out of registers.
template <class T, int N>
struct Some {
    typedef T type __attribute__((vector_size(N * sizeof(T))));
};
template <class T, int N, std::size_t... L>
INLINE typename Some<T, N>::type joined(typename Some<T, N / 2>::type a, typename Some<T, N / 2>::type b, std::index_sequence<L...>) {
    return __builtin_shufflevector(a, b, int(L)...);
}
template <class T, int N>
INLINE typename Some<T, N>::type gathered_by_fours(const T* x, const uint16_t* c) {
    if constexpr (N == 4) {
        uint64_t four;
        std::memcpy(&four, c, sizeof four);
        return typename Some<T, 4>::type{x[uint16_t(four)], x[uint16_t(four >> 16)], x[uint16_t(four >> 32)], x[four >> 48]};
    } else {
        auto low = gathered_by_fours<T, N / 2>(x, c), high = gathered_by_fours<T, N / 2>(x, c + N / 2);
        return joined<T, N>(low, high, std::make_index_sequence<N>{});
    }
}

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
constexpr bool LITTLE_ENDIAN_HERE = true;
#else
constexpr bool LITTLE_ENDIAN_HERE = false;
#endif

// `ALONE` says that nothing else is gathered by the same numbers: two that are share their loads.
template <bool ALONE, class T, class C>
INLINE Vector<T> gather(const T* x, const C* c) {
    if constexpr (ALONE && LITTLE_ENDIAN_HERE && sizeof(C) == 2 && VL<T> >= 4) {
        return gathered_by_fours<T, VL<T>>(x, c);
    } else {
        return gathered(x, c, std::make_index_sequence<VL<T>>{});
    }
}

}  // namespace wirings
