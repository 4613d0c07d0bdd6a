// What every kernel file shares: the C interface's conventions, the team of threads, scratch memory, dispatch on types.
//
// Conventions of the C interface: every function returns 0, or -1 when memory ran out. `real` is 4 or 8 (float, double),
// `stored` is either or 2 (bfloat16), `narrow` is 2 or 4 (bytes of a row or column number: uint16, int32), pointers into
// rows are int64, permutations int32 or int64 (`wide` is 4 or 8). Every size and every index was checked by the caller
// (kernels/index.py, kernels/linear.py, kernels/conv.py): nothing here looks at them again.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "vector.h"

#define API extern "C" __attribute__((visibility("default")))

namespace wirings {

// Runs work(member, size) on a team of threads. The pool is the one of the OpenMP runtime torch has already loaded.
template <class F>
void team(int64_t threads, F&& work) {
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel num_threads(static_cast<int>(threads))
        work(omp_get_thread_num(), omp_get_num_threads());
        return;
    }
#endif
    (void)threads;
    work(0, 1);
}

inline void meet() {
#ifdef _OPENMP
#pragma omp barrier
#endif
}

struct Range {
    int64_t first, last;
};

// The member's part of n equal items, cut at multiples of `grain`.
inline Range part(int64_t n, int member, int size, int64_t grain = 1) {
    int64_t blocks = (n + grain - 1) / grain;
    int64_t a = blocks * member / size * grain, b = blocks * (member + 1) / size * grain;
    return {a < n ? a : n, b < n ? b : n};
}

// The member's rows of a compressed matrix: equal shares of connections, with every row costing four more.
inline Range rows_of(const int64_t* pointer, int64_t rows, int member, int size) {
    auto cut = [&](int q) -> int64_t {
        if (q <= 0) return 0;
        if (q >= size) return rows;
        double target = (double(pointer[rows]) + 4.0 * double(rows)) * q / size;
        int64_t lo = 0, hi = rows;
        while (lo < hi) {
            int64_t mid = (lo + hi) / 2;
            if (double(pointer[mid]) + 4.0 * double(mid) < target) {
                lo = mid + 1;
            } else {
                hi = mid;
            }
        }
        return lo;
    };
    return {cut(member), cut(member + 1)};
}

// Uninitialised scratch memory, aligned to a cache line.
template <class T>
class Scratch {
  public:
    explicit Scratch(int64_t n) {
        std::size_t bytes = (static_cast<std::size_t>(n) * sizeof(T) + 127) / 64 * 64;
        data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
        if (!data_) throw std::bad_alloc();
    }
    ~Scratch() { std::free(data_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    operator T*() const { return data_; }
    T* only_if(bool wanted) const { return wanted ? data_ : nullptr; }

  private:
    T* data_;
};

template <class F>
int guarded(F&& work) {
    try {
        work();
        return 0;
    } catch (const std::bad_alloc&) {
        return -1;
    }
}

template <class F>
int with_real(int64_t real, F&& work) {
    return guarded([&] { real == 4 ? work(float{}) : work(double{}); });
}

template <class F>
int with_stored(int64_t stored, F&& work) {
    return stored == 2 ? guarded([&] { work(bf16{}); }) : with_real(stored, work);
}

template <class F>
int with_stored_types(int64_t stored, int64_t narrow, F&& work) {
    return with_stored(stored, [&](auto s) { narrow == 2 ? work(s, uint16_t{}) : work(s, int32_t{}); });
}

template <class F>
int with_types(int64_t real, int64_t narrow, F&& work) {
    return with_real(real, [&](auto r) { narrow == 2 ? work(r, uint16_t{}) : work(r, int32_t{}); });
}

}  // namespace wirings
