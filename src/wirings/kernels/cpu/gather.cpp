// Batches of one or two samples: connections gather from a sample instead of streaming whole panel rows. (From three on a
// padded panel of sixteen is faster.)
#include <type_traits>

#include "common.h"
#include "vector.h"

namespace wirings {
namespace {

template <int B, class S, class C>
void gather_rows(const int64_t* pointer, const C* column, const S* value, const S* bias, bool relu, const Wide<S>* x, int64_t columns,
                 S* y, int64_t rows, Range mine) {
    using T = Wide<S>;
    constexpr int N = VL<T>;
    for (int64_t r = mine.first; r < mine.last; r++) {
        Vector<T> a[B], b[B];
        for (int s = 0; s < B; s++) a[s] = b[s] = zero<T>();
        int64_t k = pointer[r], end = pointer[r + 1];
        for (; k + 2 * N <= end; k += 2 * N) {
            Vector<T> v, w;
            read<1>(value + k, &v);
            read<1>(value + k + N, &w);
#pragma GCC unroll 2
            for (int s = 0; s < B; s++) {
                a[s] += v * gather<B == 1>(x + s * columns, column + k);
                b[s] += w * gather<B == 1>(x + s * columns, column + k + N);
            }
        }
        for (; k + N <= end; k += N) {
            Vector<T> v;
            read<1>(value + k, &v);
#pragma GCC unroll 2
            for (int s = 0; s < B; s++) a[s] += v * gather<B == 1>(x + s * columns, column + k);
        }
        for (int s = 0; s < B; s++) {
            T sum = total<T>(a[s] + b[s]);
            for (int64_t q = k; q < end; q++) sum += widened(value[q]) * x[s * columns + column[q]];
            if (bias) sum += widened(bias[r]);
            y[s * rows + r] = rounded<S>(relu && sum < 0 ? T(0) : sum);
        }
    }
}

// Sixteen rows side by side (SELL): group g holds rows order[16 g] ... order[16 g + 15], its connections step by step from
// 16 * start[g] on; `length[16 g + l]` is lane l's number of connections. Rows are ordered by length, so lanes of a group
// end together but for a few steps, which are done lane by lane: padding is never multiplied.
template <int B, class S, class C>
void sell_groups(const int64_t* start, const C* column, const S* value, const int32_t* length, const int32_t* order, const S* bias,
                 bool relu, const Wide<S>* x, int64_t columns, S* y, int64_t rows, Range mine) {
    using T = Wide<S>;
    constexpr int N = VL<T>, H = LANES / N;
    for (int64_t g = mine.first; g < mine.last; g++) {
        const int32_t* lengths = length + g * LANES;
        int32_t shortest = lengths[0];
        for (int l = 1; l < LANES; l++) shortest = lengths[l] < shortest ? lengths[l] : shortest;
        const C* c = column + start[g] * LANES;
        const S* v = value + start[g] * LANES;
        T sum[B][LANES];
#pragma GCC unroll 8
        for (int h = 0; h < H; h++) {
            Vector<T> a[B], b[B];
            for (int s = 0; s < B; s++) a[s] = b[s] = zero<T>();
            int32_t k = 0;
            for (; k + 2 <= shortest; k += 2) {
                int64_t o = int64_t(k) * LANES + h * N;
                Vector<T> one, two;
                read<1>(v + o, &one);
                read<1>(v + o + LANES, &two);
#pragma GCC unroll 2
                for (int s = 0; s < B; s++) {
                    a[s] += one * gather<B == 1>(x + s * columns, c + o);
                    b[s] += two * gather<B == 1>(x + s * columns, c + o + LANES);
                }
            }
            if (k < shortest) {
                int64_t o = int64_t(k) * LANES + h * N;
                Vector<T> one;
                read<1>(v + o, &one);
                for (int s = 0; s < B; s++) a[s] += one * gather<B == 1>(x + s * columns, c + o);
            }
            for (int s = 0; s < B; s++) store(sum[s] + h * N, a[s] + b[s]);
        }
        for (int l = 0; l < LANES; l++) {
            int64_t row = order[g * LANES + l];
            if (row >= rows) continue;
            for (int s = 0; s < B; s++) {
                T total = sum[s][l];
                for (int32_t k = shortest; k < lengths[l]; k++) {
                    int64_t o = int64_t(k) * LANES + l;
                    total += widened(v[o]) * x[s * columns + c[o]];
                }
                if (bias) total += widened(bias[row]);
                y[s * rows + row] = rounded<S>(relu && total < 0 ? T(0) : total);
            }
        }
    }
}

// Samples as the kernels above read them: where they are, or widened into `room`. Every member of a team widens its part.
template <class S>
const Wide<S>* in_full(const S* x, int64_t n, Wide<S>* room, int member, int size) {
    if constexpr (is_bf16<S>) {
        Range mine = part(n, member, size, 64);
        for (int64_t i = mine.first; i < mine.last; i++) room[i] = widened(x[i]);
        meet();
        return room;
    } else {
        return x;
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
API int wirings_gather(int64_t stored, int64_t narrow, const int64_t* pointer, const void* column, const void* value, const void* bias,
                       int64_t relu, const void* x, void* y, int64_t batch, int64_t rows, int64_t columns, int64_t threads) {
    return with_stored_types(stored, narrow, [&](auto s, auto c) {
        using S = decltype(s);
        using C = decltype(c);
        Scratch<Wide<S>> room(is_bf16<S> ? batch * columns : 0);
        team(threads, [&](int member, int size) {
            Range mine = rows_of(pointer, rows, member, size);
            auto in = in_full(static_cast<const S*>(x), batch * columns, room, member, size);
            by_batch(batch, [&](auto b) {
                gather_rows<b()>(pointer, static_cast<const C*>(column), static_cast<const S*>(value), static_cast<const S*>(bias),
                                 relu != 0, in, columns, static_cast<S*>(y), rows, mine);
            });
        });
    });
}

API int wirings_sell(int64_t stored, int64_t narrow, const int64_t* start, const void* column, const void* value, const int32_t* length,
                     const int32_t* order, const void* bias, int64_t relu, const void* x, void* y, int64_t batch, int64_t groups,
                     int64_t rows, int64_t columns, int64_t threads) {
    return with_stored_types(stored, narrow, [&](auto s, auto c) {
        using S = decltype(s);
        using C = decltype(c);
        Scratch<Wide<S>> room(is_bf16<S> ? batch * columns : 0);
        team(threads, [&](int member, int size) {
            Range mine = rows_of(start, groups, member, size);
            auto in = in_full(static_cast<const S*>(x), batch * columns, room, member, size);
            by_batch(batch, [&](auto b) {
                sell_groups<b()>(start, static_cast<const C*>(column), static_cast<const S*>(value), length, order,
                                 static_cast<const S*>(bias), relu != 0, in, columns, static_cast<S*>(y), rows, mine);
            });
        });
    });
}
