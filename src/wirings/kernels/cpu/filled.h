// A convolution with few connections missing, multiplied as if none were: their weights are zeros in a scratch copy of the
// weight. A zero times an infinity or a NaN would let them in through connections that do not exist; so a band with a NaN in
// it says so, and the caller makes it again from the connections alone. What differs
// from the sparse kernel is rounding only: the input gradient takes the taps of a channel the other way round.
#pragma once

#include <algorithm>

#include "common.h"
#include "planes.h"
#include "vector.h"

namespace wirings {

constexpr int FILLED_ROWS = 6;  // output channels that share each load of the input
constexpr int FILLED_PIXELS = WIRINGS_VECTOR_BYTES == 64 ? 4 : 2;
constexpr int GRADIENT_ROWS = WIRINGS_VECTOR_BYTES == 64 ? 4 : 3;  // of the weight gradient, by as many connections:
constexpr int GRADIENT_COLUMNS = WIRINGS_VECTOR_BYTES == 64 ? 6 : 4;

inline int64_t blocks_of(int64_t rows, int64_t block) { return (rows + block - 1) / block; }

// Rows in blocks, each block column by column: weight[(block * columns + column) * FILLED_ROWS + row of the block].
template <class T>
struct Filled {
    int64_t rows, columns;
    const int32_t* shift;  // of each column
    const T* weight;
};

// RX output pixels of one block of rows; whether there is no NaN among them.
template <class T, int RX, int STRIDE, class G>
bool filled_tile(const Filled<T>& a, int64_t block, const G& grid, const T* bias, bool relu, const T* in, T* out) {
    constexpr int M = FILLED_ROWS;
    const int64_t first = block * M, have = std::min<int64_t>(M, a.rows - first);
    auto bad = zero<T>() != zero<T>();
    for (int64_t lane = 0; lane < LANES; lane += VL<T>) {
        T* o = out + first * grid.out_channel + lane;
        Vector<T> sum[M][RX];
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) {
            const bool is = m < have;
#pragma GCC unroll 4
            for (int x = 0; x < RX; x++) {
                sum[m][x] = is && grid.onto ? load(grid.onto + (o + m * grid.out_channel + x * grid.out_pixel - grid.whole))
                            : is && bias    ? splat(bias[first + m])
                                            : zero<T>();
            }
        }
        const T* w = a.weight + block * a.columns * M;
        for (int64_t k = 0; k < a.columns; k++, w += M) {
            const T* p = in + a.shift[k] + lane;
            Vector<T> from[RX];
#pragma GCC unroll 4
            for (int x = 0; x < RX; x++) from[x] = load(p + x * STRIDE * LANES);
#pragma GCC unroll 8
            for (int m = 0; m < M; m++) {
                Vector<T> some = splat(w[m]);
#pragma GCC unroll 4
                for (int x = 0; x < RX; x++) sum[m][x] += some * from[x];
            }
        }
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) {
            if (m >= have) break;
#pragma GCC unroll 4
            for (int x = 0; x < RX; x++) {
                bad |= sum[m][x] != sum[m][x];
                store(o + m * grid.out_channel + x * grid.out_pixel, relu ? positive_part<T>(sum[m][x]) : sum[m][x]);
            }
        }
    }
    for (int i = 0; i < VL<T>; i++) {
        if (bad[i]) return false;
    }
    return true;
}

template <class T, int STRIDE, class G>
bool filled_strip(const Filled<T>& a, int64_t block, const G& grid, const T* bias, bool relu, const T* in, T* out) {
    int64_t x = 0;
    bool good = true;
    auto step = [&](auto rx) {
        constexpr int RX = rx();
        if constexpr (RX <= FILLED_PIXELS) {
            for (; x + RX <= grid.width; x += RX) {
                good &= filled_tile<T, RX, STRIDE>(a, block, grid, bias, relu, in + x * STRIDE * LANES, out + x * grid.out_pixel);
            }
        }
    };
    step(std::integral_constant<int, 4>{});
    step(std::integral_constant<int, 2>{});
    step(std::integral_constant<int, 1>{});
    return good;
}

// Rows y ... last - 1 of the grid; whether there is no NaN in them.
template <class T, class G>
bool filled_band(const Filled<T>& a, const G& grid, int64_t stride, const T* bias, bool relu, const T* in, T* out, int64_t y, int64_t last) {
    bool good = true;
    for (int64_t block = 0; block < blocks_of(a.rows, FILLED_ROWS); block++) {
        for (int64_t line = y; line < last; line++) {
            const T* i = in + line * grid.in_row;
            T* o = out + line * grid.out_row;
            good &= stride == 1 ? filled_strip<T, 1>(a, block, grid, bias, relu, i, o) : filled_strip<T, 2>(a, block, grid, bias, relu, i, o);
        }
    }
    return good;
}

// The gradient of `rows` x `columns` weights (as many as fit into a block, at most) over a band of output rows, added to
// `gradient`, whose rows are `step` apart.
template <class T>
void filled_gradient(const int32_t* shift, int64_t columns, const T* in, const T* grad, int64_t grad_step, int64_t rows, T* gradient,
                     int64_t step, int64_t height, int64_t width, int64_t stride, int64_t in_row, int64_t out_row) {
    constexpr int M = GRADIENT_ROWS, P = GRADIENT_COLUMNS;
    Vector<T> sum[M][P];
    const T *p[P], *d[M];
#pragma GCC unroll 8
    for (int q = 0; q < P; q++) p[q] = in + shift[std::min<int64_t>(q, columns - 1)];
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) {
        d[m] = grad + std::min<int64_t>(m, rows - 1) * grad_step;
#pragma GCC unroll 8
        for (int q = 0; q < P; q++) sum[m][q] = zero<T>();
    }
    for (int64_t y = 0; y < height; y++) {
        int64_t g = y * out_row, o = y * stride * in_row;
        for (int64_t x = 0; x < width; x++, o += stride * LANES, g += LANES) {
#pragma GCC unroll 4
            for (int lane = 0; lane < LANES; lane += VL<T>) {
                Vector<T> from[M];
#pragma GCC unroll 4
                for (int m = 0; m < M; m++) from[m] = load(d[m] + g + lane);
#pragma GCC unroll 8
                for (int q = 0; q < P; q++) {
                    Vector<T> seen = load(p[q] + o + lane);
#pragma GCC unroll 4
                    for (int m = 0; m < M; m++) sum[m][q] += from[m] * seen;
                }
            }
        }
    }
    constexpr int PADDED = P > 4 ? 8 : 4;
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) {
        T s[std::max(PADDED, VL<T>)];
        if constexpr (PADDED <= VL<T>) {
            store(s, sums<T, PADDED>([&](int q) INLINE_LAMBDA { return q < P ? sum[m][q] : zero<T>(); }));
        } else {
#pragma GCC unroll 8
            for (int q = 0; q < P; q++) s[q] = total<T>(sum[m][q]);
        }
        if (m < rows) {
            for (int64_t q = 0; q < columns; q++) gradient[m * step + q] += s[q];
        }
    }
}

}  // namespace wirings
