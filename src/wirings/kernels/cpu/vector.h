// One vector of the widest kind this build knows, written with the compiler's vector extensions so that the same text
// serves AVX-512, AVX2, SSE2, NEON and anything else GCC or Clang can lower.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

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

template <class T>
using Vector = typename VectorOf<T>::type;
template <class T>
constexpr int VL = WIRINGS_VECTOR_BYTES / sizeof(T);

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
template <class T, class C>
INLINE Vector<T> gather(const T* x, const C* c) {
    return gathered(x, c, std::make_index_sequence<VL<T>>{});
}

}  // namespace wirings
