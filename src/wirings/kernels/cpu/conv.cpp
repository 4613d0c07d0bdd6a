// Direct sparse convolution in planes [panel][channel][height + 2 halo][width + 2 halo][samples], the halo zero.
//
// A connection reads its input at a fixed shift from the output pixel, so a convolution is a sparse matrix product with one
// address per connection. The input gradient is the same kernel over the transposed index; for stride 2 its connections
// are sorted by the parity of their tap, and each parity of input pixels is a small convolution of stride 1. Every output
// pixel and every weight gradient is accumulated by one thread in a fixed order: results do not depend on their number.
// Where more connections are there than such a walk is worth, `how` asks for the kernels of filled.h or winograd.h.
#include <algorithm>
#include <atomic>
#include <vector>

#include "common.h"
#include "connections.h"
#include "filled.h"
#include "geometry.h"
#include "planes.h"
#include "vector.h"
#include "winograd.h"

namespace wirings {
namespace {

// The weight gradient where few connections are missing: that of every weight, of which theirs are kept.
template <class T, class C>
void filled_weight(const Geometry& g, const int64_t* pointer, const C* column, const T* x, const T* grad, T* gradient, int64_t high,
                   int64_t threads) {
    const Planes in = input_of<T>(g), out = output_of<T>(g);
    const int64_t columns = g.in_channels * g.taps();
    Scratch<int32_t> reach(columns);
    Scratch<T> whole(g.out_channels * columns);
    every_shift<T>(g, reach);
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

// The weight gradient by Winograd's algorithm: that of every weight, too; whether it ended finite.
template <class S, class C>
bool winograd_weight(const Geometry& g, const int64_t* pointer, const C* column, const S* x, const S* grad, Wide<S>* gradient, int64_t threads) {
    const int64_t reach = g.in_channels * winograd::TAPS;
    Scratch<Wide<S>> every(reach * winograd::padded(g.out_channels, winograd::OUTPUTS));
    winograd::weight_gradient(g.panels, input_of<S>(g), x, output_of<S>(g), grad, -g.padding, static_cast<Wide<S>*>(every), threads);
    std::atomic<bool> good{true};
    team(threads, [&](int member, int size) {
        Range mine = rows_of(pointer, g.out_channels, member, size);
        bool finite = true;
        for (int64_t r = mine.first; r < mine.last; r++) {
            for (int64_t k = pointer[r]; k < pointer[r + 1]; k++) {
                gradient[k] = every[(r / winograd::OUTPUTS * reach + column[k]) * winograd::OUTPUTS + r % winograd::OUTPUTS];
                finite &= gradient[k] - gradient[k] == 0;
            }
        }
        if (!finite) good.store(false, std::memory_order_relaxed);
    });
    return good;
}

template <class S>
Grid<S> part_of(Grid<S> grid, const winograd::Tile& tile) {
    grid.height = tile.rows, grid.width = tile.columns;
    return grid;
}

}  // namespace
}  // namespace wirings

using namespace wirings;

// Planes in, planes out (halo included), with bias and ReLU.
API int wirings_conv_forward(int64_t stored, int64_t narrow, const int64_t* geometry, const int64_t* pointer, const void* column,
                             const void* value, const void* bias, int64_t relu, int64_t how, const void* x, void* y, int64_t threads) {
    return with_stored_types(stored, narrow, [&](auto t, auto c) {
        using S = decltype(t);
        using T = Wide<S>;
        using C = decltype(c);
        const bool filled = !is_bf16<S> && how == FILLED;
        const Geometry& g = *reinterpret_cast<const Geometry*>(geometry);
        const Planes in = input_of<S>(g), out = output_of<S>(g);
        Scratch<int32_t> shift(pointer[g.out_channels]);
        const int64_t some = how != CONNECTIONS
                                 ? g.in_channels
                                 : channels_at_once(g, g.in_channels, double(pointer[g.out_channels]) / double(g.out_channels),
                                                    patch_of<S>(g.out_width, g.stride, g.kernel_height, g.kernel_width));
        const int64_t blocks = (g.in_channels + some - 1) / some;
        Scratch<int64_t> cut(blocks > 1 ? (blocks + 1) * g.out_channels : 0);
        const Shifted<S> a{blocks > 1 ? cut : pointer, blocks > 1 ? g.out_channels : 1, blocks, shift, static_cast<const S*>(value)};
        const Grid<S> grid{g.out_height, g.out_width, in.row(), out.row(), out.lanes, out.plane(), 0, 1, g.out_channels, nullptr, nullptr};
        const int64_t corner = in.at(-g.padding, -g.padding), high = rows_at_once<S>(grid.width), bands = (grid.height + high - 1) / high;
        Grid<S> stepped = grid;
        stepped.in_row = grid.in_row * g.stride;
        Scratch<int32_t> reach(g.group_in() * g.taps());
        every_shift<S>(g, reach);
        const int64_t columns = filled ? g.in_channels * g.taps() : 0;
        Scratch<T> weight(blocks_of(g.out_channels, FILLED_ROWS) * FILLED_ROWS * columns);
        const Filled<T> whole{g.out_channels, columns, reach, weight};
        auto begin = [&](int member, int size) {
            forward_shifts<S>(g, pointer, static_cast<const C*>(column), rows_of(pointer, g.out_channels, member, size), reach, shift,
                           cut.only_if(blocks > 1), some);
        };
        if (how == WINOGRAD) {
            const winograd::Ending<S> ending{static_cast<const S*>(bias), static_cast<const S*>(y), nullptr, relu != 0};
            auto spread = [&](int64_t r, T* taps, int64_t step) {
                for (int64_t k = pointer[r]; k < pointer[r + 1]; k++) {
                    const int64_t c = static_cast<const C*>(column)[k];
                    taps[c % winograd::TAPS * step + c / winograd::TAPS] = widened(a.value[k]);
                }
            };
            auto again = [&](const winograd::Tile& tile) {
                band<S>(a, part_of(stepped, tile), 1, ending.bias, ending.relu,
                        static_cast<const S*>(x) + tile.panel * in.panel() + in.at(tile.y - g.padding, tile.x - g.padding),
                        static_cast<S*>(y) + tile.panel * out.panel() + out.at(tile.y, tile.x), 0, tile.rows);
            };
            winograd::convolve(g.panels, in, static_cast<const S*>(x), out, static_cast<S*>(y), -g.padding, ending, threads, begin, spread, again);
            return;
        }
        const int64_t room = blocks > 1 ? Shifted<S>::kept_by(g.out_channels) : 0;
        Scratch<T> kept(threads * room);
        std::atomic<int64_t> halo{0}, next{0};
        team(threads, [&](int member, int size) {
            Shifted<S> mine = a;
            mine.kept = kept + member * room;
            begin(member, size);
            if (filled) {
                Range rows = part(g.out_channels, member, size, FILLED_ROWS);
                std::fill(weight + rows.first * columns, weight + blocks_of(rows.last, FILLED_ROWS) * FILLED_ROWS * columns, T(0));
                for (int64_t r = rows.first; r < rows.last; r++) {
                    T* row = weight + r / FILLED_ROWS * FILLED_ROWS * columns + r % FILLED_ROWS;
                    for (int64_t k = pointer[r]; k < pointer[r + 1]; k++) row[static_cast<const C*>(column)[k] * FILLED_ROWS] = widened(a.value[k]);
                }
            }
            deal(halo, g.panels * g.out_channels, [&](int64_t job) { clear_halo(static_cast<S*>(y) + job * out.plane(), out); });
            meet();
            deal(next, g.panels * bands, [&](int64_t job) {
                const int64_t panel = job / bands, first = job % bands * high, last = std::min(first + high, grid.height);
                const S *i = static_cast<const S*>(x) + panel * in.panel() + corner, *b = static_cast<const S*>(bias);
                S* o = static_cast<S*>(y) + panel * out.panel() + out.at(0, 0);
                if constexpr (!is_bf16<S>) {
                    if (filled && filled_band<T>(whole, stepped, g.stride, b, relu != 0, i, o, first, last)) return;
                }
                band<S>(mine, stepped, g.stride, b, relu != 0, i, o, first, last);
            });
        });
    });
}

// The input gradient over the transposed index of wirings_conv_transpose, added to `onto` where that is given.
API int wirings_conv_input_onto(int64_t stored, int64_t narrow, int64_t narrow_row, int64_t wide, const int64_t* geometry,
                                const int64_t* pointer, const void* row, const void* place, const void* column, const void* value,
                                const void* grad, const void* onto, int64_t how, void* gx, int64_t threads) {
    return with_stored_types(stored, narrow, [&](auto t, auto c) {
        using S = decltype(t);
        using T = Wide<S>;
        using C = decltype(c);
        const bool filled = !is_bf16<S> && how == FILLED;
        const Geometry& g = *reinterpret_cast<const Geometry*>(geometry);
        const Planes in = input_of<S>(g), out = output_of<S>(g);
        const int64_t s = g.stride, classes = s * s, rows = g.in_channels * classes, nnz = pointer[rows];
        Scratch<int32_t> shift(nnz);
        Scratch<S> own(nnz);
        const int64_t some = how != CONNECTIONS
                                 ? g.out_channels
                                 : channels_at_once(g, g.out_channels, double(nnz) / double(rows),
                                                    patch_of<S>((g.width + s - 1) / s, 1, (g.kernel_height + s - 1) / s,
                                                                (g.kernel_width + s - 1) / s));
        const int64_t blocks = (g.out_channels + some - 1) / some;
        Scratch<int64_t> cut(blocks > 1 ? (blocks + 1) * rows : 0);
        const Shifted<S> a{blocks > 1 ? cut : pointer, blocks > 1 ? rows : 1, blocks, shift, own};
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
        std::vector<int64_t> edge(classes + 1, 0);
        for (int64_t kind = 0; kind < classes; kind++) {
            edge[kind + 1] = edge[kind] + g.out_channels * taps_of(kind / s, g.kernel_height) * taps_of(kind % s, g.kernel_width);
        }
        Scratch<int32_t> reach(filled ? edge[classes] : 0);
        Scratch<T> weight(filled ? edge[classes] * padded : 0);
        if (filled) {
            int32_t* next = reach;
            for (int64_t kind = 0; kind < classes; kind++) {
                const int64_t high = taps_of(kind / s, g.kernel_height), wide = taps_of(kind % s, g.kernel_width);
                for (int64_t j = 0; j < g.out_channels * high * wide; j++) {
                    const int64_t tap = high * wide - 1 - j % (high * wide);  // addresses ascend: a quarter faster
                    *next++ = static_cast<int32_t>(j / (high * wide) * out.plane() - tap / wide * out.row() - tap % wide * out.lanes);
                }
            }
        }
        auto axis = [&](int64_t parity, int64_t extent) -> Axis {
            int64_t first = ((parity - g.padding) % s + s) % s;
            return {first, extent > first ? (extent - first + s - 1) / s : 0, (first + g.padding - parity) / s};
        };
        Scratch<int32_t> back(g.group_in() * g.taps());  // how far a connection of each column reaches back
        for (int64_t c = 0; c < g.group_in() * g.taps(); c++) {
            const int64_t tap = c % g.taps();
            back[c] = static_cast<int32_t>(tap / g.kernel_width / s * out.row() + tap % g.kernel_width / s * out.lanes);
        }
        auto begin = [&](int member, int size) {
            Range mine = rows_of(pointer, rows, member, size);
            for (int64_t r = mine.first; r < mine.last; r++) {
                int64_t block = 0;
                for (int64_t k = pointer[r]; k < pointer[r + 1]; k++) {
                    int64_t from = place_of(k), channel = channel_of(k);
                    shift[k] = static_cast<int32_t>(channel * out.plane() - back[static_cast<const C*>(column)[from]]);
                    own[k] = static_cast<const S*>(value)[from];
                    for (; blocks > 1 && block * some <= channel; block++) cut[block * rows + r] = k;
                }
                for (; blocks > 1 && block <= blocks; block++) cut[block * rows + r] = pointer[r + 1];
            }
        };
        if (how == WINOGRAD) {
            const winograd::Ending<S> ending{nullptr, static_cast<const S*>(gx), static_cast<const S*>(onto), false};
            const Grid<S> grid{g.height, g.width, out.row(), in.row(), in.lanes, in.plane(), 0, 1, g.in_channels, ending.whole, ending.onto};
            auto spread = [&](int64_t r, T* taps, int64_t step) {
                for (int64_t k = pointer[r]; k < pointer[r + 1]; k++) {
                    const int64_t from = place_of(k), tap = static_cast<const C*>(column)[from] % winograd::TAPS;
                    taps[(winograd::TAPS - 1 - tap) * step + channel_of(k)] = widened(static_cast<const S*>(value)[from]);
                }
            };
            auto again = [&](const winograd::Tile& tile) {
                band<S>(a, part_of(grid, tile), 1, nullptr, false,
                        static_cast<const S*>(grad) + tile.panel * out.panel() + out.at(tile.y + g.padding, tile.x + g.padding),
                        static_cast<S*>(gx) + tile.panel * in.panel() + in.at(tile.y, tile.x), 0, tile.rows);
            };
            winograd::convolve(g.panels, out, static_cast<const S*>(grad), in, static_cast<S*>(gx), g.padding - 2, ending, threads, begin, spread, again);
            return;
        }
        const int64_t room = blocks > 1 ? Shifted<S>::kept_by(g.in_channels) : 0;
        Scratch<T> kept(threads * room);
        std::atomic<int64_t> halo{0}, next{0};
        team(threads, [&](int member, int size) {
            Shifted<S> mine = a;
            mine.kept = kept + member * room;
            begin(member, size);
            if (filled) {
                Range channels = part(padded, member, size, FILLED_ROWS);
                for (int64_t kind = 0; kind < classes; kind++) {
                    const int64_t columns = edge[kind + 1] - edge[kind], taps = columns / g.out_channels;
                    const int64_t across = taps_of(kind % s, g.kernel_width);
                    T* all = weight + edge[kind] * padded;
                    std::fill(all + channels.first * columns, all + channels.last * columns, T(0));
                    for (int64_t c = channels.first; c < std::min(channels.last, g.in_channels); c++) {
                        T* to = all + c / FILLED_ROWS * FILLED_ROWS * columns + c % FILLED_ROWS;
                        for (int64_t k = pointer[c * classes + kind]; k < pointer[c * classes + kind + 1]; k++) {
                            const int64_t tap = static_cast<const C*>(column)[place_of(k)] % g.taps();
                            const int64_t rank = tap / g.kernel_width / s * across + tap % g.kernel_width / s;
                            to[(channel_of(k) * taps + taps - 1 - rank) * FILLED_ROWS] = widened(static_cast<const S*>(value)[place_of(k)]);
                        }
                    }
                }
            }
            deal(halo, g.panels * g.in_channels, [&](int64_t job) { clear_halo(static_cast<S*>(gx) + job * in.plane(), in); });
            meet();
            const int64_t high = rows_at_once<S>((g.width + s - 1) / s), bands = ((g.height + s - 1) / s + high - 1) / high;
            deal(next, g.panels * bands * classes, [&](int64_t job) {
                int64_t kind = job % classes, panel = job / classes / bands, first = job / classes % bands * high;
                Axis v = axis(kind / s, g.height), h = axis(kind % s, g.width);
                if (first >= v.count || h.count == 0) return;
                Grid<S> grid{v.count, h.count, out.row(), in.row() * s, in.lanes * s, in.plane(), kind, classes, g.in_channels,
                             static_cast<const S*>(gx), static_cast<const S*>(onto)};
                const int64_t last = std::min(first + high, v.count);
                const S* i = static_cast<const S*>(grad) + panel * out.panel() + out.at(v.under, h.under);
                S* o = static_cast<S*>(gx) + panel * in.panel() + in.at(v.first, h.first);
                const Filled<T> whole{g.in_channels, edge[kind + 1] - edge[kind], reach + edge[kind], weight + edge[kind] * padded};
                if constexpr (!is_bf16<S>) {
                    if (filled && filled_band<T>(whole, grid, 1, nullptr, false, i, o, first, last)) return;
                }
                band<S>(mine, grid, 1, nullptr, false, i, o, first, last);
            });
        });
    });
}

// The weight gradient at the connections.
API int wirings_conv_weight(int64_t stored, int64_t narrow, const int64_t* geometry, const int64_t* pointer, const void* column,
                            const void* x, const void* grad, int64_t how, void* gradient, int64_t threads) {
    return with_stored_types(stored, narrow, [&](auto t, auto c) {
        using S = decltype(t);
        using T = Wide<S>;
        using C = decltype(c);
        const Geometry& g = *reinterpret_cast<const Geometry*>(geometry);
        const Planes in = input_of<S>(g), out = output_of<S>(g);
        const Walk walk = walk_of<S>(g, pointer[g.out_channels]);
        if constexpr (!is_bf16<S>) {
            if (how == FILLED) {
                filled_weight(g, pointer, static_cast<const C*>(column), static_cast<const S*>(x), static_cast<const S*>(grad),
                              static_cast<T*>(gradient), walk.rows, threads);
                return;
            }
        }
        if (how == WINOGRAD && winograd_weight(g, pointer, static_cast<const C*>(column), static_cast<const S*>(x), static_cast<const S*>(grad),
                                         static_cast<T*>(gradient), threads)) return;
        const int64_t blocks = (g.in_channels + walk.channels - 1) / walk.channels;
        Scratch<int32_t> shift(pointer[g.out_channels]);
        Scratch<int64_t> cut(blocks > 1 ? (blocks + 1) * g.out_channels : 0);
        const int64_t *edge = blocks > 1 ? cut : pointer, step = blocks > 1 ? g.out_channels : 1;
        Scratch<int32_t> reach(g.group_in() * g.taps());
        every_shift<S>(g, reach);
        team(threads, [&](int member, int size) {
            Range mine = rows_of(pointer, g.out_channels, member, size);
            forward_shifts<S>(g, pointer, static_cast<const C*>(column), mine, reach, shift, cut.only_if(blocks > 1), walk.channels);
            T* sum = static_cast<T*>(gradient);
            std::fill(sum + pointer[mine.first], sum + pointer[mine.last], T(0));
            for (int64_t job = 0; job < g.panels * g.out_height * blocks; job++) {
                const int64_t panel = job / blocks / g.out_height, y = job / blocks % g.out_height, block = job % blocks;
                if (y % walk.rows > 0) continue;
                const int64_t tall = std::min(walk.rows, g.out_height - y);
                const S* i = static_cast<const S*>(x) + panel * in.panel() + in.at(y * g.stride - g.padding, -g.padding);
                const S* o = static_cast<const S*>(grad) + panel * out.panel() + out.at(y, 0);
                for (int64_t r = mine.first; r < mine.last; r++) {
                    int64_t k = edge[block * step + r];
                    const int64_t n = edge[(block + 1) * step + r] - k;
                    auto group = [&](auto size_of, auto pair) {
                        constexpr int G = size_of();
                        gradient_group<S, G, pair()>(shift + k, i, o + r * out.plane(), sum + k, tall, g.out_width, g.stride, in.row(), out.row());
                        k += G;
                    };
                    blocks > 1 ? in_even_groups(n, group) : in_groups(n, group);
                }
            }
        });
    });
}
