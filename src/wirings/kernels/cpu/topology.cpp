// Building indices: compressed rows from a flat index (checked on the way), and the transposed index by counting sort.
#include <cstring>

#include "common.h"

namespace wirings {
namespace {

template <class C>
int64_t compress(const int64_t* flat, int64_t nnz, int64_t rows, int64_t columns, int64_t* pointer, C* column) {
    int64_t row = 0, row_begin = 0, before = -1;
    const bool bounded = columns > 0;
    pointer[0] = 0;
    for (int64_t k = 0; k < nnz; k++) {
        int64_t at = flat[k];
        if (at <= before || !bounded) return k + 1;
        if (at - row_begin >= columns) {  // one division a row, none a connection
            int64_t target = at / columns;
            if (target >= rows) return k + 1;
            while (row < target) pointer[++row] = k;
            row_begin = row * columns;
        }
        if (rows == 0) return k + 1;
        column[k] = static_cast<C>(at - row_begin);
        before = at;
    }
    while (row < rows) pointer[++row] = nnz;
    return 0;
}

// Sorts connections by key(row, column) in [0, keys), keeping their order among equals.
template <class C, class R, class P, class K>
void sorted(const int64_t* pointer, const C* column, int64_t rows, int64_t keys, int64_t* out_pointer, R* out_row, P* out_place, K&& key) {
    std::memset(out_pointer, 0, sizeof(int64_t) * static_cast<std::size_t>(keys + 1));
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t k = pointer[r]; k < pointer[r + 1]; k++) out_pointer[key(r, column[k]) + 1]++;
    }
    for (int64_t j = 0; j < keys; j++) out_pointer[j + 1] += out_pointer[j];
    Scratch<int64_t> next(keys);
    std::memcpy(next, out_pointer, sizeof(int64_t) * static_cast<std::size_t>(keys));
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t k = pointer[r]; k < pointer[r + 1]; k++) {
            int64_t at = next[key(r, column[k])]++;
            out_row[at] = static_cast<R>(r);
            out_place[at] = static_cast<P>(k);
        }
    }
}

template <class K>
int sort_by(int64_t narrow, int64_t narrow_row, int64_t wide, const int64_t* pointer, const void* column, int64_t rows, int64_t keys,
            int64_t* out_pointer, void* out_row, void* out_place, K&& key) {
    auto finish = [&](auto c, auto r) {
        auto* from = static_cast<const decltype(c)*>(column);
        auto* row = static_cast<decltype(r)*>(out_row);
        if (wide == 4) {
            sorted(pointer, from, rows, keys, out_pointer, row, static_cast<int32_t*>(out_place), key);
        } else {
            sorted(pointer, from, rows, keys, out_pointer, row, static_cast<int64_t*>(out_place), key);
        }
    };
    return guarded([&] {
        if (narrow == 2) {
            narrow_row == 2 ? finish(uint16_t{}, uint16_t{}) : finish(uint16_t{}, int32_t{});
        } else {
            narrow_row == 2 ? finish(int32_t{}, uint16_t{}) : finish(int32_t{}, int32_t{});
        }
    });
}

}  // namespace
}  // namespace wirings

using namespace wirings;

// pointer (rows + 1) and column (nnz) from a flat index. Returns 0, or 1 + the place of the first entry that is not
// larger than the one before it or lies outside the shape.
API int64_t wirings_compress(int64_t narrow, const int64_t* flat, int64_t nnz, int64_t rows, int64_t columns, int64_t* pointer,
                             void* column) {
    return narrow == 2 ? compress(flat, nnz, rows, columns, pointer, static_cast<uint16_t*>(column))
                       : compress(flat, nnz, rows, columns, pointer, static_cast<int32_t*>(column));
}

// The transposed index: out_pointer (columns + 1), out_row (nnz), and out_place (nnz), the place of each connection in the
// given index. Within a column, rows ascend.
API int wirings_transpose(int64_t narrow, int64_t narrow_row, int64_t wide, const int64_t* pointer, const void* column, int64_t rows,
                          int64_t columns, int64_t* out_pointer, void* out_row, void* out_place) {
    return sort_by(narrow, narrow_row, wide, pointer, column, rows, columns, out_pointer, out_row, out_place,
                   [](int64_t, int64_t c) { return c; });
}

// The same for a convolution: sorted by input channel and, within it, by the place of the tap modulo the stride.
API int wirings_conv_transpose(int64_t narrow, int64_t narrow_row, int64_t wide, const int64_t* pointer, const void* column, int64_t rows,
                               int64_t channels, int64_t groups, int64_t kernel_height, int64_t kernel_width, int64_t stride,
                               int64_t* out_pointer, void* out_row, void* out_place) {
    const int64_t taps = kernel_height * kernel_width, group_in = channels / groups, group_out = rows / groups;
    return sort_by(narrow, narrow_row, wide, pointer, column, rows, channels * stride * stride, out_pointer, out_row, out_place,
                   [=](int64_t r, int64_t c) {
                       int64_t tap = c % taps, channel = r / group_out * group_in + c / taps;
                       return (channel * stride + tap / kernel_width % stride) * stride + tap % kernel_width % stride;
                   });
}
