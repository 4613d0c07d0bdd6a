// Direct sparse convolution in planes [panel][channel][height + 2 halo][width + 2 halo][16 samples], the halo zero.
//
// A connection reads its input at a fixed shift from the output pixel, so a convolution is a sparse matrix product with one
// address per connection. The input gradient is the same kernel over the transposed index; for stride 2 its connections
// are sorted by the parity of their tap, and each parity of input pixels is a small convolution of stride 1. Every output
// pixel and every weight gradient is accumulated by one thread in a fixed order: results do not depend on their number.
// Where few connections are missing, `filled` asks for the kernels of filled.h (one group only).
#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

#include "common.h"
#include "filled.h"
#include "planes.h"
#include "strips.h"
#include "vector.h"

namespace wirings {
namespace {

// As packed by kernels/conv.py.
struct Geometry {
    int64_t panels, in_channels, out_channels, groups, kernel_height, kernel_width, stride, padding;
    int64_t height, width, halo, out_height, out_width, out_halo;
    int64_t first;  // bytes of the first-level cache
    int64_t cache;  // bytes of input rows that a band of weight gradients may keep in the second-level cache

    int64_t taps() const { return kernel_height * kernel_width; }
    int64_t group_in() const { return in_channels / groups; }
    int64_t group_out() const { return out_channels / groups; }
};

Planes input_of(const Geometry& g) { return {g.in_channels, g.height, g.width, g.halo}; }
Planes output_of(const Geometry& g) { return {g.out_channels, g.out_height, g.out_width, g.out_halo}; }

constexpr int MOST_SUMS = WIRINGS_VECTOR_BYTES == 64 ? 16 : 8;  // vectors that stay in registers beside the operands

// Connections of each row, in blocks of channels: those of row r in block b are cut[b * step + r] ... cut[(b + 1) * step + r].
template <class T>
struct Shifted {
    const int64_t* cut;
    int64_t step, blocks;
    const int32_t* shift;
    const T* value;
};

constexpr double ENOUGH = 12;  // connections of a row in a block that are worth reading its sums again

// Into how many channels to cut the input so that what a tile reads of them stays in the first-level cache while all rows
// pass over it: several times faster to read than the second-level cache. All of them where there is too little to gain.
inline int64_t channels_at_once(const Geometry& g, int64_t channels, double per_row, int64_t patch) {
    int64_t some = std::max<int64_t>(1, g.first * 4 / 5 / patch);
    return g.groups > 1 || some >= channels || per_row * double(some) < ENOUGH * double(channels) ? channels : some;
}

// A grid of output pixels: how far apart their inputs and they themselves lie.
template <class T>
struct Grid {
    int64_t height, width;
    int64_t in_row, out_row, out_pixel, out_channel;
    int64_t first_row, row_step, rows;  // rows of the index, one per output channel
    const T *whole, *onto;              // the output's first element, and what it is added to: none, or laid out as the output
};

// RY x RX output pixels of every output channel.
template <class T, int RX, int RY, int S>
void tile(const Shifted<T>& a, const Grid<T>& grid, const T* bias, bool relu, const T* in, T* out) {
    constexpr int N = VL<T>;
    for (int64_t job = 0; job < LANES / N * a.blocks; job++) {
        const int64_t lane = job / a.blocks * N, block = job % a.blocks;
        const int64_t* cut = a.cut + block * a.step;
        const bool ends = relu && block + 1 == a.blocks;
        for (int64_t i = 0; i < grid.rows; i++) {
            int64_t r = grid.first_row + i * grid.row_step;
            int64_t k = cut[r], end = cut[a.step + r];
            T* o = out + i * grid.out_channel + lane;
            Vector<T> sum[RY][RX];
            if (block > 0 && k == end && !ends) continue;
            if (block > 0 || grid.onto) {
                const T* begun = block > 0 ? o : grid.onto + (o - grid.whole);
#pragma GCC unroll 4
                for (int y = 0; y < RY; y++) {
#pragma GCC unroll 8
                    for (int x = 0; x < RX; x++) sum[y][x] = load(begun + y * grid.out_row + x * grid.out_pixel);
                }
            } else {
#pragma GCC unroll 4
                for (int y = 0; y < RY; y++) {
#pragma GCC unroll 8
                    for (int x = 0; x < RX; x++) sum[y][x] = bias ? splat(bias[i]) : zero<T>();
                }
            }
            for (; k < end; k++) {
                const T* p = in + a.shift[k] + lane;
                Vector<T> w = splat(a.value[k]);
#pragma GCC unroll 4
                for (int y = 0; y < RY; y++) {
#pragma GCC unroll 8
                    for (int x = 0; x < RX; x++) sum[y][x] += w * load(p + y * grid.in_row + x * S * LANES);
                }
            }
#pragma GCC unroll 4
            for (int y = 0; y < RY; y++) {
#pragma GCC unroll 8
                for (int x = 0; x < RX; x++) {
                    store(o + y * grid.out_row + x * grid.out_pixel, ends ? positive_part<T>(sum[y][x]) : sum[y][x]);
                }
            }
        }
    }
}

// `RY` rows of the grid from `in`, `out` on, in tiles as wide as fit.
template <class T, int RY, int S>
void strip(const Shifted<T>& a, const Grid<T>& grid, const T* bias, bool relu, const T* in, T* out) {
    int64_t x = 0;
    auto step = [&](auto rx) {
        constexpr int RX = rx();
        if constexpr (RX * RY <= MOST_SUMS) {
            for (; x + RX <= grid.width; x += RX) {
                tile<T, RX, RY, S>(a, grid, bias, relu, in + x * S * LANES, out + x * grid.out_pixel);
            }
        }
    };
    step(std::integral_constant<int, 8>{});
    step(std::integral_constant<int, 4>{});
    step(std::integral_constant<int, 2>{});
    step(std::integral_constant<int, 1>{});
}

int64_t rows_at_once(int64_t width) { return width >= 8 ? MOST_SUMS / 8 : width >= 4 ? MOST_SUMS / 4 : 4; }

template <class T>
void band(const Shifted<T>& a, const Grid<T>& grid, int64_t stride, const T* bias, bool relu, const T* in, T* out, int64_t y, int64_t last) {
    while (y < last) {
        const T* i = in + y * grid.in_row;
        T* o = out + y * grid.out_row;
        int64_t left = last - y;
        if (left >= 4) {
            stride == 1 ? strip<T, 4, 1>(a, grid, bias, relu, i, o) : strip<T, 4, 2>(a, grid, bias, relu, i, o);
            y += 4;
        } else if (left >= 2) {
            stride == 1 ? strip<T, 2, 1>(a, grid, bias, relu, i, o) : strip<T, 2, 2>(a, grid, bias, relu, i, o);
            y += 2;
        } else {
            stride == 1 ? strip<T, 1, 1>(a, grid, bias, relu, i, o) : strip<T, 1, 2>(a, grid, bias, relu, i, o);
            y += 1;
        }
    }
}

// Bytes of one channel under a tile of pixels whose kernel reaches over so many rows and columns.
template <class T>
int64_t patch_of(int64_t width, int64_t stride, int64_t kernel_height, int64_t kernel_width) {
    const int64_t wide = std::min<int64_t>(width, 8), high = MOST_SUMS / std::max<int64_t>(wide, 4);
    return ((high - 1) * stride + kernel_height) * ((wide - 1) * stride + kernel_width) * VL<T> * int64_t(sizeof(T));
}

// The shift of each connection from the input pixel under its kernel's corner; and, where `cut` is given, where in each row
// a block of `some` channels begins.
template <class C>
void forward_shifts(const Geometry& g, const int64_t* pointer, const C* column, Range rows, int32_t* shift, int64_t* cut = nullptr,
                    int64_t some = 0) {
    Planes in = input_of(g);
    const int64_t step = g.out_channels, last = cut ? (g.in_channels + some - 1) / some : 0;
    for (int64_t r = rows.first; r < rows.last; r++) {
        int64_t channel = r / g.group_out() * g.group_in(), block = 0;
        for (int64_t k = pointer[r]; k < pointer[r + 1]; k++) {
            int64_t c = column[k], tap = c % g.taps();
            for (; cut && block * some <= c / g.taps(); block++) cut[block * step + r] = k;
            shift[k] = static_cast<int32_t>((channel + c / g.taps()) * in.plane() + tap / g.kernel_width * in.row() + tap % g.kernel_width * LANES);
        }
        for (; cut && block <= last; block++) cut[block * step + r] = pointer[r + 1];
    }
}

// The shift of every connection that one row could have, in their order.
inline void every_shift(const Geometry& g, int32_t* shift) {
    Planes in = input_of(g);
    for (int64_t c = 0; c < g.group_in() * g.taps(); c++) {
        int64_t tap = c % g.taps();
        shift[c] = static_cast<int32_t>(c / g.taps() * in.plane() + tap / g.kernel_width * in.row() + tap % g.kernel_width * LANES);
    }
}

template <int N>
using Number = std::integral_constant<int, N>;

// The weight gradient of connections k ... k + G - 1 over a band of output rows: they share each load of the gradient.
// Where `PAIR` is 2, neighbours are summed apart, so that fewer sums wait for the one before.
template <class T, int G, int PAIR>
void gradient_group(const int32_t* shift, const T* in, const T* grad, T* gradient, int64_t height, int64_t width, int64_t stride,
                    int64_t in_row, int64_t out_row) {
    constexpr int PADDED = G > 4 ? 8 : G > 2 ? 4 : G;
    Vector<T> sum[PAIR][G];
    const T* p[G];
#pragma GCC unroll 8
    for (int q = 0; q < G; q++) {
#pragma GCC unroll 2
        for (int i = 0; i < PAIR; i++) sum[i][q] = zero<T>();
        p[q] = in + shift[q];
    }
    for (int64_t y = 0; y < height; y++) {
        const T* g = grad + y * out_row;
        int64_t o = y * stride * in_row, x = 0;
        auto pixel = [&](auto into) INLINE_LAMBDA {
#pragma GCC unroll 4
            for (int lane = 0; lane < LANES; lane += VL<T>) {
                Vector<T> d = load(g + lane);
#pragma GCC unroll 8
                for (int q = 0; q < G; q++) sum[into()][q] += d * load(p[q] + o + lane);
            }
            o += stride * LANES;
            g += LANES;
        };
        for (; x + PAIR <= width; x += PAIR) {
            pixel(Number<0>{});
            if constexpr (PAIR == 2) pixel(Number<1>{});
        }
        if (x < width) pixel(Number<0>{});
    }
    auto whole = [&](int q) INLINE_LAMBDA { return q >= G ? zero<T>() : PAIR == 1 ? sum[0][q] : sum[0][q] + sum[PAIR - 1][q]; };
    if constexpr (PADDED <= VL<T>) {
        T s[VL<T>];
        store(s, sums<T, PADDED>(whole));
        for (int q = 0; q < G; q++) gradient[q] += s[q];
    } else {
        for (int q = 0; q < G; q++) gradient[q] += total<T>(whole(q));
    }
}

// Groups of eight connections, then of what is left.
template <class F>
void in_groups(int64_t n, F&& group) {
    for (; n >= 8; n -= 8) group(Number<8>{}, Number<1>{});
    if (n & 4) group(Number<4>{}, Number<1>{});
    if (n & 2) group(Number<2>{}, Number<1>{});
    if (n & 1) group(Number<1>{}, Number<1>{});
}

// The same where there are few: as many groups, none much smaller than another.
template <class F>
void in_even_groups(int64_t n, F&& group) {
    for (int64_t left = (n + 7) / 8; left > 0; left--) {
        const int64_t some = (n + left - 1) / left;
        auto of = [&](auto size) {
            constexpr int G = size();
            if (some == G) group(size, Number<(2 * G <= MOST_SUMS ? 2 : 1)>{});
        };
        of(Number<1>{}), of(Number<2>{}), of(Number<3>{}), of(Number<4>{}), of(Number<5>{}), of(Number<6>{}), of(Number<7>{}), of(Number<8>{});
        n -= some;
    }
}

// How a weight gradient is taken: over bands of output rows, and in each over blocks of input channels.
struct Walk {
    int64_t rows, channels;
};

constexpr double PIXELS = 3;  // that adding up the lanes of one connection costs
constexpr double DEAR = 0.35;  // what blocks may cost beside the products, so that they pay

constexpr double JUMP = 0.2;  // what going on to another row of the index costs, in products of a connection
constexpr double FAR = 0.05;  // what every cacheful of input costs beside the products, beyond the half of the first

// Blocks of as many channels as fit into the first-level cache, over which the gradients of all output channels pass: each
// is read anew for the connections there, and each connection's lanes are added up for the pixels there. Where that costs
// too much, as with few connections, larger blocks and bands that stay in the second-level cache. Where jumping from row to
// row of the index would leave that cache, bands whose whole input fits there.
template <class T>
Walk walk_of(const Geometry& g, int64_t nnz) {
    const double per_row = double(nnz) / double(g.out_channels);
    const bool near = nnz * int64_t(sizeof(int32_t) + sizeof(T)) <= g.cache * 3 / 2;
    const int64_t line = input_of(g).row() * int64_t(sizeof(T));
    auto lines_of = [&](int64_t rows) { return (rows - 1) * g.stride + g.kernel_height; };
    auto cost_of = [&](double again, int64_t rows, int64_t channels) {
        return again * double(g.in_channels) / (per_row * double(channels)) + PIXELS / double(rows * g.out_width);
    };
    Walk best{0, g.in_channels};
    double least = DEAR;
    for (int64_t rows = 1; rows <= g.out_height && g.groups == 1 && near; rows++) {
        const int64_t some = std::min(g.in_channels, g.first / (lines_of(rows) * line));
        const double cost = some > 0 ? cost_of(1, rows, some) : DEAR;
        if (cost < least) {
            least = cost;
            best = {rows, some};
        }
    }
    if (best.rows > 0 && best.channels < g.in_channels) return best;
    if (g.groups == 1 && near && nnz > 0) {
        least = std::numeric_limits<double>::infinity();
        for (int64_t rows = 1; rows <= g.out_height; rows++) {
            for (int64_t blocks = 1; blocks <= g.in_channels; blocks *= 2) {
                const int64_t some = (g.in_channels + blocks - 1) / blocks;
                const double caches = double(lines_of(rows) * line * some) / double(g.cache);
                const double cost = cost_of(JUMP, rows, some) + FAR * std::max(0.0, caches - 0.5);
                if (cost < least) {
                    least = cost;
                    best = {rows, some};
                }
            }
        }
        return best;
    }
    const int64_t fitting = (g.cache / (g.in_channels * line) - g.kernel_height + g.stride) / g.stride, enough = (LANES + g.out_width - 1) / g.out_width;
    return {std::max<int64_t>(1, std::min(g.out_height, std::max(fitting, enough))), g.in_channels};
}

// The weight gradient where few connections are missing: that of every weight, of which theirs are kept.
template <class T, class C>
void filled_weight(const Geometry& g, const int64_t* pointer, const C* column, const T* x, const T* grad, T* gradient, int64_t high,
                   int64_t threads) {
    const Planes in = input_of(g), out = output_of(g);
    const int64_t columns = g.in_channels * g.taps();
    Scratch<int32_t> reach(columns);
    Scratch<T> whole(g.out_channels * columns);
    every_shift(g, reach);
    team(threads, [&](int member, int size) {
        Range mine = part(g.out_channels, member, size, GRADIENT_ROWS);
        std::fill(whole + mine.first * columns, whole + mine.last * columns, T(0));
        for (int64_t panel = 0; panel < g.panels; panel++) {
            for (int64_t y = 0; y < g.out_height; y += high) {
                const T* i = x + panel * in.panel() + in.at(y * g.stride - g.padding, -g.padding);
                const T* o = grad + panel * out.panel() + out.at(y, 0);
                for (int64_t r = mine.first; r < mine.last; r += GRADIENT_ROWS) {
                    for (int64_t c = 0; c < columns; c += GRADIENT_COLUMNS) {
                        filled_gradient<T>(reach + c, std::min<int64_t>(GRADIENT_COLUMNS, columns - c), i, o + r * out.plane(), out.plane(),
                                           std::min<int64_t>(GRADIENT_ROWS, mine.last - r), whole + r * columns + c, columns,
                                           std::min(high, g.out_height - y), g.out_width, g.stride, in.row(), out.row());
                    }
                }
            }
        }
        for (int64_t r = mine.first; r < mine.last; r++) {
            for (int64_t k = pointer[r]; k < pointer[r + 1]; k++) gradient[k] = whole[r * columns + column[k]];
        }
    });
}

}  // namespace
}  // namespace wirings

using namespace wirings;

// Planes in, planes out (halo included), with bias and ReLU.
API int wirings_conv_forward(int64_t real, int64_t narrow, const int64_t* geometry, const int64_t* pointer, const void* column,
                             const void* value, const void* bias, int64_t relu, int64_t filled, const void* x, void* y, int64_t threads) {
    return with_types(real, narrow, [&](auto t, auto c) {
        using T = decltype(t);
        using C = decltype(c);
        const Geometry& g = *reinterpret_cast<const Geometry*>(geometry);
        const Planes in = input_of(g), out = output_of(g);
        Scratch<int32_t> shift(pointer[g.out_channels]);
        const int64_t some = filled ? g.in_channels
                                    : channels_at_once(g, g.in_channels, double(pointer[g.out_channels]) / double(g.out_channels),
                                                       patch_of<T>(g.out_width, g.stride, g.kernel_height, g.kernel_width));
        const int64_t blocks = (g.in_channels + some - 1) / some;
        Scratch<int64_t> cut(blocks > 1 ? (blocks + 1) * g.out_channels : 0);
        Shifted<T> a{blocks > 1 ? cut : pointer, blocks > 1 ? g.out_channels : 1, blocks, shift, static_cast<const T*>(value)};
        const Grid<T> grid{g.out_height, g.out_width, in.row(), out.row(), LANES, out.plane(), 0, 1, g.out_channels, nullptr, nullptr};
        const int64_t corner = in.at(-g.padding, -g.padding), high = rows_at_once(grid.width), bands = (grid.height + high - 1) / high;
        Grid<T> stepped = grid;
        stepped.in_row = grid.in_row * g.stride;
        const int64_t columns = filled ? g.in_channels * g.taps() : 0;
        Scratch<int32_t> reach(columns);
        Scratch<T> weight(blocks_of(g.out_channels, FILLED_ROWS) * FILLED_ROWS * columns);
        const Filled<T> whole{g.out_channels, columns, reach, weight};
        if (filled) every_shift(g, reach);
        std::atomic<int64_t> halo{0}, next{0};
        team(threads, [&](int member, int size) {
            forward_shifts(g, pointer, static_cast<const C*>(column), rows_of(pointer, g.out_channels, member, size), shift,
                           cut.only_if(blocks > 1), some);
            if (filled) {
                Range mine = part(g.out_channels, member, size, FILLED_ROWS);
                std::fill(weight + mine.first * columns, weight + blocks_of(mine.last, FILLED_ROWS) * FILLED_ROWS * columns, T(0));
                for (int64_t r = mine.first; r < mine.last; r++) {
                    T* row = weight + r / FILLED_ROWS * FILLED_ROWS * columns + r % FILLED_ROWS;
                    for (int64_t k = pointer[r]; k < pointer[r + 1]; k++) row[static_cast<const C*>(column)[k] * FILLED_ROWS] = a.value[k];
                }
            }
            deal(halo, g.panels * g.out_channels, [&](int64_t job) { clear_halo(static_cast<T*>(y) + job * out.plane(), out); });
            meet();
            deal(next, g.panels * bands, [&](int64_t job) {
                const int64_t panel = job / bands, first = job % bands * high, last = std::min(first + high, grid.height);
                const T *i = static_cast<const T*>(x) + panel * in.panel() + corner, *b = static_cast<const T*>(bias);
                T* o = static_cast<T*>(y) + panel * out.panel() + out.at(0, 0);
                if (filled && filled_band<T>(whole, stepped, g.stride, b, relu != 0, i, o, first, last)) return;
                band<T>(a, stepped, g.stride, b, relu != 0, i, o, first, last);
            });
        });
    });
}

// The input gradient over the transposed index of wirings_conv_transpose, added to `onto` where that is given.
API int wirings_conv_input_onto(int64_t real, int64_t narrow, int64_t narrow_row, int64_t wide, const int64_t* geometry,
                                const int64_t* pointer, const void* row, const void* place, const void* column, const void* value,
                                const void* grad, const void* onto, int64_t filled, void* gx, int64_t threads) {
    return with_types(real, narrow, [&](auto t, auto c) {
        using T = decltype(t);
        using C = decltype(c);
        const Geometry& g = *reinterpret_cast<const Geometry*>(geometry);
        const Planes in = input_of(g), out = output_of(g);
        const int64_t s = g.stride, classes = s * s, rows = g.in_channels * classes, nnz = pointer[rows];
        Scratch<int32_t> shift(nnz);
        Scratch<T> own(nnz);
        const int64_t some = filled ? g.out_channels
                                    : channels_at_once(g, g.out_channels, double(nnz) / double(rows),
                                                       patch_of<T>((g.width + s - 1) / s, 1, (g.kernel_height + s - 1) / s,
                                                                   (g.kernel_width + s - 1) / s));
        const int64_t blocks = (g.out_channels + some - 1) / some;
        Scratch<int64_t> cut(blocks > 1 ? (blocks + 1) * rows : 0);
        Shifted<T> a{blocks > 1 ? cut : pointer, blocks > 1 ? rows : 1, blocks, shift, own};
        // Input pixels whose padded coordinate is `parity` modulo the stride: the first, how many, and the gradient pixel
        // under the first for tap `parity`.
        struct Axis {
            int64_t first, count, under;
        };
        auto place_of = [&](int64_t k) { return wide == 4 ? int64_t(static_cast<const int32_t*>(place)[k]) : static_cast<const int64_t*>(place)[k]; };
        auto channel_of = [&](int64_t k) {
            return narrow_row == 2 ? int64_t(static_cast<const uint16_t*>(row)[k]) : static_cast<const int32_t*>(row)[k];
        };
        // Taps of a kind, each way; and, where few connections are missing, its weights: one kind after the other.
        auto taps_of = [&](int64_t parity, int64_t kernel) { return parity < kernel ? (kernel - parity + s - 1) / s : 0; };
        const int64_t padded = blocks_of(g.in_channels, FILLED_ROWS) * FILLED_ROWS;
        std::vector<int64_t> begin(classes + 1, 0);
        for (int64_t kind = 0; kind < classes; kind++) {
            begin[kind + 1] = begin[kind] + g.out_channels * taps_of(kind / s, g.kernel_height) * taps_of(kind % s, g.kernel_width);
        }
        Scratch<int32_t> reach(filled ? begin[classes] : 0);
        Scratch<T> weight(filled ? begin[classes] * padded : 0);
        if (filled) {
            int32_t* next = reach;
            for (int64_t kind = 0; kind < classes; kind++) {
                const int64_t high = taps_of(kind / s, g.kernel_height), wide = taps_of(kind % s, g.kernel_width);
                for (int64_t j = 0; j < g.out_channels * high * wide; j++) {
                    const int64_t tap = high * wide - 1 - j % (high * wide);  // addresses ascend: a quarter faster
                    *next++ = static_cast<int32_t>(j / (high * wide) * out.plane() - tap / wide * out.row() - tap % wide * LANES);
                }
            }
        }
        auto axis = [&](int64_t parity, int64_t extent) -> Axis {
            int64_t first = ((parity - g.padding) % s + s) % s;
            return {first, extent > first ? (extent - first + s - 1) / s : 0, (first + g.padding - parity) / s};
        };
        std::atomic<int64_t> halo{0}, next{0};
        team(threads, [&](int member, int size) {
            Range mine = rows_of(pointer, rows, member, size);
            for (int64_t r = mine.first; r < mine.last; r++) {
                int64_t block = 0;
                for (int64_t k = pointer[r]; k < pointer[r + 1]; k++) {
                    int64_t from = place_of(k), channel = channel_of(k);
                    int64_t tap = static_cast<const C*>(column)[from] % g.taps();
                    shift[k] = static_cast<int32_t>(channel * out.plane() - tap / g.kernel_width / s * out.row() - tap % g.kernel_width / s * LANES);
                    own[k] = static_cast<const T*>(value)[from];
                    for (; blocks > 1 && block * some <= channel; block++) cut[block * rows + r] = k;
                }
                for (; blocks > 1 && block <= blocks; block++) cut[block * rows + r] = pointer[r + 1];
            }
            if (filled) {
                Range mine = part(padded, member, size, FILLED_ROWS);
                for (int64_t kind = 0; kind < classes; kind++) {
                    const int64_t columns = begin[kind + 1] - begin[kind], taps = columns / g.out_channels;
                    const int64_t across = taps_of(kind % s, g.kernel_width);
                    T* all = weight + begin[kind] * padded;
                    std::fill(all + mine.first * columns, all + mine.last * columns, T(0));
                    for (int64_t c = mine.first; c < std::min(mine.last, g.in_channels); c++) {
                        T* to = all + c / FILLED_ROWS * FILLED_ROWS * columns + c % FILLED_ROWS;
                        for (int64_t k = pointer[c * classes + kind]; k < pointer[c * classes + kind + 1]; k++) {
                            const int64_t tap = static_cast<const C*>(column)[place_of(k)] % g.taps();
                            const int64_t rank = tap / g.kernel_width / s * across + tap % g.kernel_width / s;
                            to[(channel_of(k) * taps + taps - 1 - rank) * FILLED_ROWS] = static_cast<const T*>(value)[place_of(k)];
                        }
                    }
                }
            }
            deal(halo, g.panels * g.in_channels, [&](int64_t job) { clear_halo(static_cast<T*>(gx) + job * in.plane(), in); });
            meet();
            const int64_t high = rows_at_once((g.width + s - 1) / s), bands = ((g.height + s - 1) / s + high - 1) / high;
            deal(next, g.panels * bands * classes, [&](int64_t job) {
                int64_t kind = job % classes, panel = job / classes / bands, first = job / classes % bands * high;
                Axis v = axis(kind / s, g.height), h = axis(kind % s, g.width);
                if (first >= v.count || h.count == 0) return;
                Grid<T> grid{v.count, h.count, out.row(), in.row() * s, LANES * s, in.plane(), kind, classes, g.in_channels,
                             static_cast<const T*>(gx), static_cast<const T*>(onto)};
                const int64_t last = std::min(first + high, v.count);
                const T* i = static_cast<const T*>(grad) + panel * out.panel() + out.at(v.under, h.under);
                T* o = static_cast<T*>(gx) + panel * in.panel() + in.at(v.first, h.first);
                const Filled<T> whole{g.in_channels, begin[kind + 1] - begin[kind], reach + begin[kind], weight + begin[kind] * padded};
                if (filled && filled_band<T>(whole, grid, 1, nullptr, false, i, o, first, last)) return;
                band<T>(a, grid, 1, nullptr, false, i, o, first, last);
            });
        });
    });
}

// The weight gradient at the connections.
API int wirings_conv_weight(int64_t real, int64_t narrow, const int64_t* geometry, const int64_t* pointer, const void* column,
                            const void* x, const void* grad, int64_t filled, void* gradient, int64_t threads) {
    return with_types(real, narrow, [&](auto t, auto c) {
        using T = decltype(t);
        using C = decltype(c);
        const Geometry& g = *reinterpret_cast<const Geometry*>(geometry);
        const Planes in = input_of(g), out = output_of(g);
        const Walk walk = walk_of<T>(g, pointer[g.out_channels]);
        if (filled) return filled_weight(g, pointer, static_cast<const C*>(column), static_cast<const T*>(x), static_cast<const T*>(grad),
                                         static_cast<T*>(gradient), walk.rows, threads);
        const int64_t blocks = (g.in_channels + walk.channels - 1) / walk.channels;
        Scratch<int32_t> shift(pointer[g.out_channels]);
        Scratch<int64_t> cut(blocks > 1 ? (blocks + 1) * g.out_channels : 0);
        const int64_t *edge = blocks > 1 ? cut : pointer, step = blocks > 1 ? g.out_channels : 1;
        team(threads, [&](int member, int size) {
            Range mine = rows_of(pointer, g.out_channels, member, size);
            forward_shifts(g, pointer, static_cast<const C*>(column), mine, shift, cut.only_if(blocks > 1), walk.channels);
            T* sum = static_cast<T*>(gradient);
            std::fill(sum + pointer[mine.first], sum + pointer[mine.last], T(0));
            for (int64_t job = 0; job < g.panels * g.out_height * blocks; job++) {
                const int64_t panel = job / blocks / g.out_height, y = job / blocks % g.out_height, block = job % blocks;
                if (y % walk.rows > 0) continue;
                const int64_t tall = std::min(walk.rows, g.out_height - y);
                const T* i = static_cast<const T*>(x) + panel * in.panel() + in.at(y * g.stride - g.padding, -g.padding);
                const T* o = static_cast<const T*>(grad) + panel * out.panel() + out.at(y, 0);
                for (int64_t r = mine.first; r < mine.last; r++) {
                    int64_t k = edge[block * step + r];
                    const int64_t n = edge[(block + 1) * step + r] - k;
                    auto group = [&](auto size_of, auto pair) {
                        constexpr int G = size_of();
                        gradient_group<T, G, pair()>(shift + k, i, o + r * out.plane(), sum + k, tall, g.out_width, g.stride, in.row(), out.row());
                        k += G;
                    };
                    blocks > 1 ? in_even_groups(n, group) : in_groups(n, group);
                }
            }
        });
    });
}

// (batch, channels, height, width), contiguous or channels-last, to planes; missing samples and the halo are zero.
API int wirings_to_planes(int64_t real, const void* x, void* planes, int64_t batch, int64_t channels, int64_t height, int64_t width,
                          int64_t halo, int64_t channels_last, int64_t threads) {
    return with_real(real, [&](auto t) {
        using T = decltype(t);
        const Planes p{channels, height, width, halo};
        const int64_t sample = channels * height * width, panels = (batch + LANES - 1) / LANES;
        const T* from = static_cast<const T*>(x);
        T* to = static_cast<T*>(planes);
        team(threads, [&](int member, int size) {
            Range mine = part(panels * channels, member, size);
            for (int64_t job = mine.first; job < mine.last; job++) {
                T* plane = to + job * p.plane();
                clear_halo(plane, p);
                if (channels_last) continue;
                int64_t panel = job / channels, channel = job % channels;
                const T* s = from + panel * LANES * sample + channel * height * width;
                for (int64_t y = 0; y < height; y++) {
                    strip_in(s + y * width, sample, width, std::min<int64_t>(LANES, batch - panel * LANES), plane + p.at(y, 0), LANES);
                }
            }
            if (!channels_last) return;
            mine = part(panels * height, member, size);
            for (int64_t job = mine.first; job < mine.last; job++) {
                int64_t panel = job / height, y = job % height;
                for (int64_t x0 = 0; x0 < width; x0++) {
                    strip_in(from + panel * LANES * sample + (y * width + x0) * channels, sample, channels,
                             std::min<int64_t>(LANES, batch - panel * LANES), to + panel * p.panel() + p.at(y, x0), p.plane());
                }
            }
        });
    });
}

// The way back.
API int wirings_from_planes(int64_t real, const void* planes, void* x, int64_t batch, int64_t channels, int64_t height, int64_t width,
                            int64_t halo, int64_t channels_last, int64_t threads) {
    return with_real(real, [&](auto t) {
        using T = decltype(t);
        const Planes p{channels, height, width, halo};
        const int64_t sample = channels * height * width, panels = (batch + LANES - 1) / LANES;
        const T* from = static_cast<const T*>(planes);
        T* to = static_cast<T*>(x);
        team(threads, [&](int member, int size) {
            Range mine = part(channels_last ? panels * height : panels * channels, member, size);
            for (int64_t job = mine.first; job < mine.last; job++) {
                if (channels_last) {
                    int64_t panel = job / height, y = job % height;
                    for (int64_t x0 = 0; x0 < width; x0++) {
                        strip_out(from + panel * p.panel() + p.at(y, x0), p.plane(), channels, std::min<int64_t>(LANES, batch - panel * LANES),
                                  to + panel * LANES * sample + (y * width + x0) * channels, sample);
                    }
                } else {
                    int64_t panel = job / channels, channel = job % channels;
                    for (int64_t y = 0; y < height; y++) {
                        strip_out(from + job * p.plane() + p.at(y, 0), LANES, width, std::min<int64_t>(LANES, batch - panel * LANES),
                                  to + panel * LANES * sample + channel * height * width + y * width, sample);
                    }
                }
            }
        });
    });
}
