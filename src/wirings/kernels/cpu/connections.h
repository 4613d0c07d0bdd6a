// Convolutions connection by connection: tiles of output pixels stay in registers, and each connection of their channel adds
// its input pixels, which lie at a fixed shift. The weight gradient keeps a few connections' sums there and walks over pixels.
#pragma once

#include <algorithm>
#include <limits>

#include "common.h"
#include "geometry.h"
#include "vector.h"

namespace wirings {

constexpr int MOST_SUMS = WIRINGS_VECTOR_BYTES == 64 ? 16 : 8;  // vectors that stay in registers beside the operands

// Output pixels whose sums stay there.
template <class S>
constexpr int PIXELS_OF = MOST_SUMS / TOGETHER<S>;

// Connections of each row, in blocks of channels: those of row r in block b are cut[b * step + r] ... cut[(b + 1) * step + r].
template <class S>
struct Shifted {
    const int64_t* cut;
    int64_t step, blocks;
    const int32_t* shift;
    const S* value;
    Wide<S>* kept = nullptr;  // bfloat16: a tile's sums from block to block, in float

    static int64_t kept_by(int64_t rows) { return is_bf16<S> ? rows * MOST_SUMS * VL<Wide<S>> : 0; }
};

constexpr double ENOUGH = 12;  // connections of a row in a block that are worth reading its sums again

// Into how many channels to cut the input so that what a tile reads of them stays in the first-level cache while all rows
// pass over it: several times faster to read than the second-level cache. All of them where there is too little to gain.
inline int64_t channels_at_once(const Geometry& g, int64_t channels, double per_row, int64_t patch) {
    int64_t some = std::max<int64_t>(1, g.first * 4 / 5 / patch);
    return g.groups > 1 || some >= channels || per_row * double(some) < ENOUGH * double(channels) ? channels : some;
}

// A grid of output pixels: how far apart their inputs and they themselves lie.
template <class S>
struct Grid {
    int64_t height, width;
    int64_t in_row, out_row, out_pixel, out_channel;
    int64_t first_row, row_step, rows;  // rows of the index, one per output channel
    const S *whole, *onto;              // the output's first element, and what it is added to: none, or laid out as the output
};

// RY x RX output pixels of every output channel.
template <class S, int RX, int RY, int STRIDE>
void tile(const Shifted<S>& a, const Grid<S>& grid, const S* bias, bool relu, const S* in, S* out) {
    using T = Wide<S>;
    constexpr int R = TOGETHER<S>, N = R * VL<T>, L = LANES_OF<S>;
    for (int64_t job = 0; job < L / N * a.blocks; job++) {
        const int64_t lane = job / a.blocks * N, block = job % a.blocks;
        const int64_t* cut = a.cut + block * a.step;
        const bool last = block + 1 == a.blocks, ends = relu && last, narrows = is_bf16<S> && last;
        for (int64_t i = 0; i < grid.rows; i++) {
            int64_t r = grid.first_row + i * grid.row_step;
            int64_t k = cut[r], end = cut[a.step + r];
            S* o = out + i * grid.out_channel + lane;
            T* kept = is_bf16<S> && a.blocks > 1 ? a.kept + i * (RX * RY * N) : nullptr;
            Vector<T> sum[RY][RX][R];
            if (block > 0 && k == end && !ends && !narrows) continue;
            auto each = [&](auto&& pixel) INLINE_LAMBDA {
#pragma GCC unroll 4
                for (int y = 0; y < RY; y++) {
#pragma GCC unroll 8
                    for (int x = 0; x < RX; x++) pixel(y, x, sum[y][x]);
                }
            };
            if (is_bf16<S> && block > 0) {
                each([&](int y, int x, Vector<T>* own) INLINE_LAMBDA {
#pragma GCC unroll 2
                    for (int j = 0; j < R; j++) own[j] = load(kept + ((y * RX + x) * R + j) * VL<T>);
                });
            } else if (block > 0 || grid.onto) {
                const S* begun = block > 0 ? o : grid.onto + (o - grid.whole);
                each([&](int y, int x, Vector<T>* own) INLINE_LAMBDA { read_sums(begun + y * grid.out_row + x * grid.out_pixel, own); });
            } else {
                each([&](int, int, Vector<T>* own) INLINE_LAMBDA {
#pragma GCC unroll 2
                    for (int j = 0; j < R; j++) own[j] = bias ? splat(widened(bias[i])) : zero<T>();
                });
            }
#ifdef __AVX512BF16__
            if constexpr (PAIRED<S>) {
                static_assert(N == L);
                auto add = [&](const S* p, const S* q, Words w, auto alone) INLINE_LAMBDA {
                    each([&](int y, int x, Vector<T>* own) INLINE_LAMBDA {
                        const int64_t at = y * grid.in_row + x * STRIDE * L;
                        Words low, high;
                        zip(words(p + at), alone ? Words{} : words(q + at), low, high);
                        own[0] = add_pairs(own[0], w, low);
                        own[1] = add_pairs(own[1], w, high);
                    });
                };
                for (; k + 2 <= end; k += 2) add(in + a.shift[k], in + a.shift[k + 1], splat_two(a.value + k), std::false_type{});
                if (k < end) add(in + a.shift[k], in, splat_one(a.value + k), std::true_type{});
            }
#endif
            if constexpr (!PAIRED<S>) {
                for (; k < end; k++) {
                    const S* p = in + a.shift[k] + lane;
                    Vector<T> w = splat(widened(a.value[k]));
                    each([&](int y, int x, Vector<T>* own) INLINE_LAMBDA {
                        Vector<T> seen[R];
                        read<R>(p + y * grid.in_row + x * STRIDE * L, seen);
#pragma GCC unroll 2
                        for (int j = 0; j < R; j++) own[j] += w * seen[j];
                    });
                }
            }
            each([&](int y, int x, Vector<T>* own) INLINE_LAMBDA {
#pragma GCC unroll 2
                for (int j = 0; j < R; j++) {
                    if (ends) own[j] = positive_part<T>(own[j]);
                    if (is_bf16<S> && !last) store(kept + ((y * RX + x) * R + j) * VL<T>, own[j]);
                }
                if (!is_bf16<S> || last) write_sums(o + y * grid.out_row + x * grid.out_pixel, own);
            });
        }
    }
}

// `RY` rows of the grid from `in`, `out` on, in tiles as wide as fit.
template <class S, int RY, int STRIDE>
void strip(const Shifted<S>& a, const Grid<S>& grid, const S* bias, bool relu, const S* in, S* out) {
    int64_t x = 0;
    auto step = [&](auto rx) {
        constexpr int RX = rx();
        if constexpr (RX * RY <= PIXELS_OF<S>) {
            for (; x + RX <= grid.width; x += RX) {
                tile<S, RX, RY, STRIDE>(a, grid, bias, relu, in + x * STRIDE * LANES_OF<S>, out + x * grid.out_pixel);
            }
        }
    };
    step(std::integral_constant<int, 8>{});
    step(std::integral_constant<int, 4>{});
    step(std::integral_constant<int, 2>{});
    step(std::integral_constant<int, 1>{});
}

template <class S>
int64_t rows_at_once(int64_t width) {
    return width < 4 ? 4 : std::max(1, width >= 8 ? PIXELS_OF<S> / 8 : PIXELS_OF<S> / 4);
}

template <class S>
void band(const Shifted<S>& a, const Grid<S>& grid, int64_t stride, const S* bias, bool relu, const S* in, S* out, int64_t y, int64_t last) {
    while (y < last) {
        const S* i = in + y * grid.in_row;
        S* o = out + y * grid.out_row;
        int64_t left = last - y;
        if (left >= 4) {
            stride == 1 ? strip<S, 4, 1>(a, grid, bias, relu, i, o) : strip<S, 4, 2>(a, grid, bias, relu, i, o);
            y += 4;
        } else if (left >= 2) {
            stride == 1 ? strip<S, 2, 1>(a, grid, bias, relu, i, o) : strip<S, 2, 2>(a, grid, bias, relu, i, o);
            y += 2;
        } else {
            stride == 1 ? strip<S, 1, 1>(a, grid, bias, relu, i, o) : strip<S, 1, 2>(a, grid, bias, relu, i, o);
            y += 1;
        }
    }
}

// Bytes of one channel under a tile of pixels whose kernel reaches over so many rows and columns.
template <class S>
int64_t patch_of(int64_t width, int64_t stride, int64_t kernel_height, int64_t kernel_width) {
    const int64_t wide = std::min<int64_t>(width, 8), high = std::max<int64_t>(1, PIXELS_OF<S> / std::max<int64_t>(wide, 4));
    return ((high - 1) * stride + kernel_height) * ((wide - 1) * stride + kernel_width) * TOGETHER<S> * VL<Wide<S>> * int64_t(sizeof(S));
}

// The shift of every connection that one row could have, in their order, from the input pixel under its kernel's corner.
template <class S>
void every_shift(const Geometry& g, int32_t* shift) {
    const Planes in = input_of<S>(g);
    for (int64_t channel = 0; channel < g.group_in(); channel++) {
        for (int64_t y = 0; y < g.kernel_height; y++) {
            for (int64_t x = 0; x < g.kernel_width; x++) *shift++ = static_cast<int32_t>(channel * in.plane() + y * in.row() + x * in.lanes);
        }
    }
}

// Those of the connections there are, of which `every` holds what it says above; and, where `cut` is given, where in each row
// a block of `some` channels begins.
template <class S, class C>
void forward_shifts(const Geometry& g, const int64_t* pointer, const C* column, Range rows, const int32_t* every, int32_t* shift,
                    int64_t* cut = nullptr, int64_t some = 0) {
    const int64_t step = g.out_channels, last = cut ? (g.in_channels + some - 1) / some : 0, plane = input_of<S>(g).plane();
    for (int64_t r = rows.first; r < rows.last; r++) {
        const int32_t group = static_cast<int32_t>(r / g.group_out() * g.group_in() * plane);
        int64_t block = 0;
        for (int64_t k = pointer[r]; k < pointer[r + 1]; k++) {
            for (; cut && block * some * g.taps() <= column[k]; block++) cut[block * step + r] = k;
            shift[k] = group + every[column[k]];
        }
        for (; cut && block <= last; block++) cut[block * step + r] = pointer[r + 1];
    }
}

template <int N>
using Number = std::integral_constant<int, N>;

// The weight gradient of connections k ... k + G - 1 over a band of output rows: they share each load of the gradient.
// Where `PAIR` is 2, neighbours are summed apart, so that fewer sums wait for the one before.
template <class S, int G, int PAIR>
void gradient_group(const int32_t* shift, const S* in, const S* grad, Wide<S>* gradient, int64_t height, int64_t width, int64_t stride,
                    int64_t in_row, int64_t out_row) {
    using T = Wide<S>;
    constexpr int PADDED = G > 4 ? 8 : G > 2 ? 4 : G, R = TOGETHER<S>, L = LANES_OF<S>;
    Vector<T> sum[PAIR][G];
    const S* p[G];
#pragma GCC unroll 8
    for (int q = 0; q < G; q++) {
#pragma GCC unroll 2
        for (int i = 0; i < PAIR; i++) sum[i][q] = zero<T>();
        p[q] = in + shift[q];
    }
    for (int64_t y = 0; y < height; y++) {
        const S* g = grad + y * out_row;
        int64_t o = y * stride * in_row, x = 0;
        auto pixel = [&](auto into) INLINE_LAMBDA {
#pragma GCC unroll 4
            for (int lane = 0; lane < L; lane += R * VL<T>) {
#ifdef __AVX512BF16__
                if constexpr (PAIRED<S>) {
                    const Words d = words(g + lane);
#pragma GCC unroll 8
                    for (int q = 0; q < G; q++) sum[into()][q] = add_pairs(sum[into()][q], d, words(p[q] + o + lane));
                    continue;
                }
#endif
                Vector<T> d[R];
                read<R>(g + lane, d);
#pragma GCC unroll 8
                for (int q = 0; q < G; q++) {
                    Vector<T> seen[R];
                    read<R>(p[q] + o + lane, seen);
#pragma GCC unroll 2
                    for (int j = 0; j < R; j++) sum[into()][q] += d[j] * seen[j];
                }
            }
            o += stride * L;
            g += L;
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
template <class S>
Walk walk_of(const Geometry& g, int64_t nnz) {
    const double per_row = double(nnz) / double(g.out_channels);
    const bool near = nnz * int64_t(sizeof(int32_t) + sizeof(Wide<S>)) <= g.cache * 3 / 2;
    const int64_t line = input_of<S>(g).row() * int64_t(sizeof(S));
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

}  // namespace wirings
