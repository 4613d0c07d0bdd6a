// Batches of one or two samples: connections gather from a sample instead of streaming whole panel rows. (From three on a
// padded panel of sixteen is faster.)
#include <type_traits>

#include "common.h"
#include "vector.h"

namespace wirings {
namespace {

template <class T, class C, int B>
void gather_rows(const int64_t* pointer, const C* column, const T* value, const T* bias, bool relu, const T* x, int64_t columns, T* y,
                 int64_t rows, Range mine) {
    constexpr int N = VL<T>;
    for (int64_t r = mine.first; r < mine.last; r++) {
        Vector<T> a[B], b[B];
        for (int s = 0; s < B; s++) a[s] = b[s] = zero<T>();
        int64_t k = pointer[r], end = pointer[r + 1];
        for (; k + 2 * N <= end; k += 2 * N) {
            Vector<T> v = load(value + k), w = load(value + k + N);
#pragma GCC unroll 2
            for (int s = 0; s < B; s++) {
                a[s] += v * gather(x + s * columns, column + k);
                b[s] += w * gather(x + s * columns, column + k + N);
            }
        }
        for (; k + N <= end; k += N) {
            Vector<T> v = load(value + k);
#pragma GCC unroll 2
            for (int s = 0; s < B; s++) a[s] += v * gather(x + s * columns, column + k);
        }
        for (int s = 0; s < B; s++) {
            T sum = total<T>(a[s] + b[s]);
            for (int64_t q = k; q < end; q++) sum += value[q] * x[s * columns + column[q]];
            if (bias) sum += bias[r];
            y[s * rows + r] = relu && sum < 0 ? T(0) : sum;
        }
    }
}

// Sixteen rows side by side (SELL): group g holds rows order[16 g] ... order[16 g + 15], its connections step by step from
// 16 * start[g] on; `length[16 g + l]` is lane l's number of connections. Rows are ordered by length, so lanes of a group
// end together but for a few steps, which are done lane by lane: padding is never multiplied.
template <class T, class C, int B>
void sell_groups(const int64_t* start, const C* column, const T* value, const int32_t* length, const int32_t* order, const T* bias,
                 bool relu, const T* x, int64_t columns, T* y, int64_t rows, Range mine) {
    constexpr int N = VL<T>, H = LANES / N;
    for (int64_t g = mine.first; g < mine.last; g++) {
        const int32_t* lengths = length + g * LANES;
        int32_t shortest = lengths[0];
        for (int l = 1; l < LANES; l++) shortest = lengths[l] < shortest ? lengths[l] : shortest;
        const C* c = column + start[g] * LANES;
        const T* v = value + start[g] * LANES;
        T sum[B][LANES];
#pragma GCC unroll 8
        for (int h = 0; h < H; h++) {
            Vector<T> a[B], b[B];
            for (int s = 0; s < B; s++) a[s] = b[s] = zero<T>();
            int32_t k = 0;
            for (; k + 2 <= shortest; k += 2) {
                int64_t o = int64_t(k) * LANES + h * N;
#pragma GCC unroll 2
                for (int s = 0; s < B; s++) {
                    a[s] += load(v + o) * gather(x + s * columns, c + o);
                    b[s] += load(v + o + LANES) * gather(x + s * columns, c + o + LANES);
                }
            }
            if (k < shortest) {
                int64_t o = int64_t(k) * LANES + h * N;
                for (int s = 0; s < B; s++) a[s] += load(v + o) * gather(x + s * columns, c + o);
            }
            for (int s = 0; s < B; s++) store(sum[s] + h * N, a[s] + b[s]);
        }
        for (int l = 0; l < LANES; l++) {
            int64_t row = order[g * LANES + l];
            if (row >= rows) continue;
            for (int s = 0; s < B; s++) {
                T total = sum[s][l];
                for (int32_t k = shortest; k < lengths[l]; k++) total += v[int64_t(k) * LANES + l] * x[s * columns + c[int64_t(k) * LANES + l]];
                if (bias) total += bias[row];
                y[s * rows + row] = relu && total < 0 ? T(0) : total;
            }
        }
    }
}

template <class F>
void by_batch(int64_t batch, F&& work) {
    batch == 1 ? work(std::integral_constant<int, 1>{}) : work(std::integral_constant<int, 2>{});
}

}  // namespace
}  // namespace wirings

using namespace wirings;

// (batch <= 2, columns) in, (batch, rows) out.
API int wirings_gather(int64_t real, int64_t narrow, const int64_t* pointer, const void* column, const void* value, const void* bias,
                       int64_t relu, const void* x, void* y, int64_t batch, int64_t rows, int64_t columns, int64_t threads) {
    return with_types(real, narrow, [&](auto r, auto c) {
        using T = decltype(r);
        using C = decltype(c);
        team(threads, [&](int member, int size) {
            Range mine = rows_of(pointer, rows, member, size);
            by_batch(batch, [&](auto b) {
                gather_rows<T, C, b()>(pointer, static_cast<const C*>(column), static_cast<const T*>(value), static_cast<const T*>(bias),
                                       relu != 0, static_cast<const T*>(x), columns, static_cast<T*>(y), rows, mine);
            });
        });
    });
}

API int wirings_sell(int64_t real, int64_t narrow, const int64_t* start, const void* column, const void* value, const int32_t* length,
                     const int32_t* order, const void* bias, int64_t relu, const void* x, void* y, int64_t batch, int64_t groups,
                     int64_t rows, int64_t columns, int64_t threads) {
    return with_types(real, narrow, [&](auto r, auto c) {
        using T = decltype(r);
        using C = decltype(c);
        team(threads, [&](int member, int size) {
            Range mine = rows_of(start, groups, member, size);
            by_batch(batch, [&](auto b) {
                sell_groups<T, C, b()>(start, static_cast<const C*>(column), static_cast<const T*>(value), length, order,
                                       static_cast<const T*>(bias), relu != 0, static_cast<const T*>(x), columns, static_cast<T*>(y), rows,
                                       mine);
            });
        });
    });
}
