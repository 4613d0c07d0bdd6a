// Strips: sixteen samples read side by side. The one transposition that all layout conversions are made of.
#pragma once

#include "vector.h"

namespace wirings {

// target[place(item) + sample] = source[sample * source_step + item], for `items` items of `samples` <= 16 samples; the lanes
// of missing samples become zero.
template <class T, class F>
void strip_in(const T* source, int64_t source_step, int64_t items, int64_t samples, T* target, F&& place) {
    constexpr int N = VL<T>;
    for (int lane = 0; lane < LANES; lane += N) {
        const T* s = source + lane * source_step;
        T* t = target + lane;
        int64_t have = samples - lane, i = 0;
        if (have >= N) {
            for (; i + N <= items; i += N) {
                Vector<T> r[N];
#pragma GCC unroll 16
                for (int q = 0; q < N; q++) r[q] = load(s + q * source_step + i);
                transpose<T>(r);
#pragma GCC unroll 16
                for (int q = 0; q < N; q++) store(t + place(i + q), r[q]);
            }
        }
        for (; i < items; i++) {
            for (int q = 0; q < N; q++) t[place(i) + q] = q < have ? s[q * source_step + i] : T(0);
        }
    }
}

// The way back: target[sample * target_step + item] = source[place(item) + sample].
template <class T, class F>
void strip_out(const T* source, F&& place, int64_t items, int64_t samples, T* target, int64_t target_step) {
    constexpr int N = VL<T>;
    for (int lane = 0; lane < LANES; lane += N) {
        const T* s = source + lane;
        T* t = target + lane * target_step;
        int64_t want = samples - lane, i = 0;
        if (want >= N) {
            for (; i + N <= items; i += N) {
                Vector<T> r[N];
#pragma GCC unroll 16
                for (int q = 0; q < N; q++) r[q] = load(s + place(i + q));
                transpose<T>(r);
#pragma GCC unroll 16
                for (int q = 0; q < N; q++) store(t + q * target_step + i, r[q]);
            }
        }
        if (want > N) want = N;
        for (; i < items; i++) {
            for (int q = 0; q < want; q++) t[q * target_step + i] = s[place(i) + q];
        }
    }
}

// Places that are equally far apart.
inline auto every(int64_t step) {
    return [step](int64_t item) { return item * step; };
}

}  // namespace wirings
