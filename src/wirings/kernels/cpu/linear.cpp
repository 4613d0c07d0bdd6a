// Linear kernels on panels [panel][feature][width]: forward, fused backward, weight gradient, and the same on plain
// (batch, features) tensors, which are packed panel by panel on the way in and unpacked from small tiles on the way out.
//
// A panel's width is 16, 32, 64 or 128 samples; lanes past the batch hold anything finite in activations and zero in
// gradients. bfloat16 is widened as it is read and computed in float; gradients of values and bias, which are added up over
// panels, are returned as floats. Every output element is accumulated by one thread, over its connections in index order and over panels in
// order, so results do not depend on the number of threads.
#include <algorithm>

#include "common.h"
#include "strips.h"
#include "vector.h"

namespace wirings {
namespace {

constexpr int64_t TILE_ROWS = 16;
constexpr int64_t MAX_WIDTH = 128;
constexpr int UNROLLED = 8;    // connections in a loop's body
constexpr int64_t AHEAD = 16;  // connections between asking for a row of a panel and reading it

// A compressed matrix: connection k of row r, for k in pointer[r] ... pointer[r + 1] - 1, reads row `other[k]` of a panel.
template <class S, class C>
struct Rows {
    const int64_t* pointer;
    const C* other;
    const S* value;
    int64_t last;  // the last connection there is
};

// Where to read the rows that will be wanted AHEAD of G connections from the k-th on; where the matrix ends before, theirs.
template <int G, class S, class C>
INLINE const C* wanted_soon(const Rows<S, C>& a, int64_t k) {
    return a.other + (k + AHEAD + G - 1 <= a.last ? k + AHEAD : k);
}

// Asks for the first half of a block of NV vectors: the processor sees the pattern and brings the rest by itself, and every
// request takes the place of a read.
template <int NV, class S>
INLINE void ask_for(const S* block) {
    constexpr int LINE = 64 / sizeof(S);
    if constexpr (NV >= 4) {
#pragma GCC unroll 4
        for (int s = 0; s < NV * VL<Wide<S>> / 2; s += LINE) __builtin_prefetch(block + s);
    }
}

// y[r - base] = act(bias[r] + sum_k value[k] x[other[k]]) for NV vectors of each row. U connections run side by side so
// that eight sums are in flight whatever NV. The loop over connections is unrolled: where many are present, a processor that
// saw one and the same instruction walk through the panel would bring rows nobody asked for (half the speed at density 0.5).
template <int NV, class S, class C>
void forward_block(const Rows<S, C>& a, const S* bias, bool relu, const S* x, S* y, int64_t width, Range rows, int64_t base) {
    using T = Wide<S>;
    constexpr int U = NV >= 8 ? 1 : 8 / NV, N = VL<T>, R = RUN<S, NV>;
    for (int64_t r = rows.first; r < rows.last; r++) {
        Vector<T> sum[U][NV];
        for (int u = 0; u < U; u++) {
            for (int v = 0; v < NV; v++) sum[u][v] = u == 0 && bias ? splat(widened(bias[r])) : zero<T>();
        }
        int64_t k = a.pointer[r], end = a.pointer[r + 1];
        auto add = [&](int64_t q, C soon, Vector<T>* onto) INLINE_LAMBDA {
            const S* row = x + int64_t(a.other[q]) * width;
            if constexpr (NV * N * sizeof(S) >= 256) ask_for<NV>(x + int64_t(soon) * width);  // narrow blocks do not wait
            Vector<T> w = splat(widened(a.value[q]));
#pragma GCC unroll 8
            for (int v = 0; v < NV; v += R) {
                Vector<T> some[R];
                read<R>(row + v * N, some);
#pragma GCC unroll 2
                for (int i = 0; i < R; i++) onto[v + i] += w * some[i];
            }
        };
        auto group = [&](auto size) INLINE_LAMBDA {
            constexpr int G = size();
            for (; k + G <= end; k += G) {
                const C* soon = wanted_soon<G>(a, k);
#pragma GCC unroll 8
                for (int g = 0; g < G; g++) add(k + g, soon[g], sum[g % U]);
            }
        };
        group(std::integral_constant<int, UNROLLED>{});
        if constexpr (U < UNROLLED) group(std::integral_constant<int, U>{});
        for (; k < end; k++) add(k, *wanted_soon<1>(a, k), sum[0]);
#pragma GCC unroll 8
        for (int half = U / 2; half >= 1; half /= 2) {
#pragma GCC unroll 8
            for (int u = 0; u < half; u++) {
                for (int v = 0; v < NV; v++) sum[u][v] += sum[u + half][v];
            }
        }
        S* out = y + (r - base) * width;
        for (int v = 0; v < NV; v++) sum[0][v] = relu ? positive_part<T>(sum[0][v]) : sum[0][v];
        for (int v = 0; v < NV; v += R) write<R>(out + v * N, sum[0] + v);
    }
}

#ifdef __AVX512BF16__
// The same in bfloat16 by pairs of connections, NV even.
template <int NV, class C>
void forward_pairs(const Rows<bf16, C>& a, const bf16* bias, bool relu, const bf16* x, bf16* y, int64_t width, Range rows,
                   int64_t base) {
    constexpr int U = NV >= 8 ? 1 : 8 / NV, N = VL<float>;
    for (int64_t r = rows.first; r < rows.last; r++) {
        Vector<float> sum[U][NV];
        for (int u = 0; u < U; u++) {
            for (int v = 0; v < NV; v++) sum[u][v] = u == 0 && bias ? splat(widened(bias[r])) : zero<float>();
        }
        int64_t k = a.pointer[r], end = a.pointer[r + 1];
        auto add = [&](int64_t q, const C* soon, auto alone, Vector<float>* onto) INLINE_LAMBDA {
            ask_for<NV>(x + int64_t(soon[0]) * width);
            if constexpr (!alone) ask_for<NV>(x + int64_t(soon[1]) * width);
            const bf16* one = x + int64_t(a.other[q]) * width;
            const bf16* two = alone ? one : x + int64_t(a.other[q + 1]) * width;
            Words w = alone ? splat_one(a.value + q) : splat_two(a.value + q);
#pragma GCC unroll 4
            for (int v = 0; v < NV; v += 2) {
                Words low, high;
                zip(words(one + v * N), alone ? Words{} : words(two + v * N), low, high);
                onto[v] = add_pairs(onto[v], w, low);
                onto[v + 1] = add_pairs(onto[v + 1], w, high);
            }
        };
        auto group = [&](auto size) INLINE_LAMBDA {
            constexpr int G = size();
            for (; k + G <= end; k += G) {
                const C* soon = wanted_soon<G>(a, k);
#pragma GCC unroll 8
                for (int g = 0; g < G; g += 2) add(k + g, soon + g, std::false_type{}, sum[g / 2 % U]);
            }
        };
        if constexpr (2 * U < UNROLLED) group(std::integral_constant<int, UNROLLED>{});
        group(std::integral_constant<int, 2 * U>{});
        for (; k + 2 <= end; k += 2) add(k, wanted_soon<2>(a, k), std::false_type{}, sum[0]);
        if (k < end) add(k, wanted_soon<1>(a, k), std::true_type{}, sum[0]);
#pragma GCC unroll 8
        for (int half = U / 2; half >= 1; half /= 2) {
#pragma GCC unroll 8
            for (int u = 0; u < half; u++) {
                for (int v = 0; v < NV; v++) sum[u][v] += sum[u + half][v];
            }
        }
        bf16* out = y + (r - base) * width;
        for (int v = 0; v < NV; v++) sum[0][v] = relu ? positive_part<float>(sum[0][v]) : sum[0][v];
        for (int v = 0; v < NV; v += 2) write_zipped(out + v * N, sum[0][v], sum[0][v + 1]);
    }
}
#endif

// Cuts a width into blocks of at most eight vectors and calls work(vectors as a constant, first sample) on each.
template <class S, class F>
INLINE void by_block(int64_t width, F&& work) {
    constexpr int N = VL<Wide<S>>;
    int64_t vectors = width / N;
    for (int64_t v = 0; v < vectors;) {
        int64_t left = vectors - v, at = v * N;
        if (left >= 8) {
            work(std::integral_constant<int, 8>{}, at);
            v += 8;
        } else if (left >= 4) {
            work(std::integral_constant<int, 4>{}, at);
            v += 4;
        } else if (left >= 2) {
            work(std::integral_constant<int, 2>{}, at);
            v += 2;
        } else {
            work(std::integral_constant<int, 1>{}, at);
            v += 1;
        }
    }
}

template <class S, class C>
void forward_rows(const Rows<S, C>& a, const S* bias, bool relu, const S* x, S* y, int64_t width, Range rows, int64_t base) {
    by_block<S>(width, [&](auto nv, int64_t at) {
#ifdef __AVX512BF16__
        if constexpr (is_bf16<S> && nv() % 2 == 0) return forward_pairs<nv()>(a, bias, relu, x + at, y + at, width, rows, base);
#endif
        forward_block<nv()>(a, bias, relu, x + at, y + at, width, rows, base);
    });
}

// One pass over the connections of each row r of `a`, with own = the row's samples in `near` and each connection reading
// a row of `far`: gradient[k] (+)= <near[r], far[other[k]]>, and, where INPUT, out[r] = sum_k value[k] far[other[k]].
template <int NV, bool INPUT, class S, class C>
void backward_block(const Rows<S, C>& a, const S* near, const S* far, S* out, Wide<S>* gradient, int64_t width, Range rows,
                    int64_t base, bool first) {
    using T = Wide<S>;
    constexpr int N = VL<T>, R = RUN<S, NV>;
    for (int64_t r = rows.first; r < rows.last; r++) {
        Vector<T> own[NV], sum[NV];
        const S* mine = near + r * width;
        for (int v = 0; v < NV; v += R) read<R>(mine + v * N, own + v);
        for (int v = 0; v < NV; v++) sum[v] = zero<T>();
        int64_t k = a.pointer[r];
        const int64_t end = a.pointer[r + 1];
        const C* soon = a.other;
        auto product = [&](int q) INLINE_LAMBDA {
            const S* row = far + int64_t(a.other[k + q]) * width;
            ask_for<NV>(far + int64_t(soon[q]) * width);
            Vector<T> dot, w;
            if constexpr (INPUT) w = splat(widened(a.value[k + q]));
#pragma GCC unroll 8
            for (int v = 0; v < NV; v += R) {
                Vector<T> g[R];
                read<R>(row + v * N, g);
                if constexpr (INPUT && R == 1) hold(g[0]);
#pragma GCC unroll 2
                for (int i = 0; i < R; i++) {
                    if constexpr (INPUT) sum[v + i] += w * g[i];
                    dot = v + i == 0 ? g[i] * own[0] : dot + g[i] * own[v + i];
                }
            }
            return dot;
        };
        auto group = [&](auto size) INLINE_LAMBDA {
            constexpr int G = size();
            soon = wanted_soon<G>(a, k);
            Vector<T> s = sums<T, G>(product);
            T* g = gradient + k;
            if constexpr (G == N) {
                store(g, first ? s : load(g) + s);
            } else {
                for (int q = 0; q < G; q++) g[q] = first ? s[q] : g[q] + s[q];
            }
            k += G;
        };
        while (end - k >= N) group(std::integral_constant<int, N>{});
        if constexpr (N > 8) {
            if (end - k >= 8) group(std::integral_constant<int, 8>{});
        }
        if constexpr (N > 4) {
            if (end - k >= 4) group(std::integral_constant<int, 4>{});
        }
        if constexpr (N > 2) {
            if (end - k >= 2) group(std::integral_constant<int, 2>{});
        }
        if (end - k >= 1) group(std::integral_constant<int, 1>{});
        if constexpr (INPUT) {
            S* o = out + (r - base) * width;
            for (int v = 0; v < NV; v += R) write<R>(o + v * N, sum + v);
        }
    }
}

#ifdef __AVX512BF16__
// The same in bfloat16: the products of a connection by pairs of samples, what it sends back by pairs of connections.
template <int NV, bool INPUT, class C>
void backward_pairs(const Rows<bf16, C>& a, const bf16* near, const bf16* far, bf16* out, float* gradient, int64_t width,
                    Range rows, int64_t base, bool first) {
    constexpr int N = VL<float>;
    for (int64_t r = rows.first; r < rows.last; r++) {
        Words own[NV / 2], before[NV / 2];
        Vector<float> sum[NV];
        const bf16* mine = near + r * width;
        for (int v = 0; v < NV; v += 2) own[v / 2] = words(mine + v * N);
        for (int v = 0; v < NV; v++) sum[v] = zero<float>();
        int64_t k = a.pointer[r];
        const int64_t end = a.pointer[r + 1];
        const C* soon = a.other;
        auto product = [&](int q, auto alone) INLINE_LAMBDA {
            const bf16* row = far + int64_t(a.other[k + q]) * width;
            ask_for<NV>(far + int64_t(soon[q]) * width);
            const bool second = q % 2 == 1;  // the one before is still at hand
            Vector<float> dot = zero<float>();
            Words w;
            if constexpr (INPUT) w = second ? splat_two(a.value + k + q - 1) : splat_one(a.value + k + q);
#pragma GCC unroll 4
            for (int v = 0; v < NV; v += 2) {
                Words g = words(row + v * N);
                hold(g);
                dot = add_pairs(dot, g, own[v / 2]);
                if constexpr (INPUT) {
                    if (alone || second) {
                        Words low, high;
                        zip(second ? before[v / 2] : g, second ? g : Words{}, low, high);
                        sum[v] = add_pairs(sum[v], w, low);
                        sum[v + 1] = add_pairs(sum[v + 1], w, high);
                    }
                    before[v / 2] = g;
                }
            }
            return dot;
        };
        auto group = [&](auto size) INLINE_LAMBDA {
            constexpr int G = size();
            soon = wanted_soon<G>(a, k);
            Vector<float> s = sums<float, G>([&](int q) INLINE_LAMBDA { return product(q, std::bool_constant<G == 1>{}); });
            float* g = gradient + k;
            if constexpr (G == N) {
                store(g, first ? s : load(g) + s);
            } else {
                for (int q = 0; q < G; q++) g[q] = first ? s[q] : g[q] + s[q];
            }
            k += G;
        };
        while (end - k >= N) group(std::integral_constant<int, N>{});
        if (end - k >= 8) group(std::integral_constant<int, 8>{});
        if (end - k >= 4) group(std::integral_constant<int, 4>{});
        if (end - k >= 2) group(std::integral_constant<int, 2>{});
        if (end - k >= 1) group(std::integral_constant<int, 1>{});
        if constexpr (INPUT) {
            bf16* o = out + (r - base) * width;
            for (int v = 0; v < NV; v += 2) write_zipped(o + v * N, sum[v], sum[v + 1]);
        }
    }
}
#endif

template <bool INPUT, class S, class C>
void backward_rows(const Rows<S, C>& a, const S* near, const S* far, S* out, Wide<S>* gradient, int64_t width, Range rows,
                   int64_t base, bool first) {
    by_block<S>(width, [&](auto nv, int64_t at) {
        constexpr int NV = nv();
        constexpr int HALF = NV > 4 && WIRINGS_VECTOR_BYTES < 64 ? 4 : NV;  // own + sum + dots must fit sixteen registers
        for (int part = 0; part < NV; part += HALF) {
            int64_t o = at + part * VL<Wide<S>>;
            S* there = INPUT ? out + o : out;
#ifdef __AVX512BF16__
            if constexpr (is_bf16<S> && HALF % 2 == 0) {
                backward_pairs<HALF, INPUT>(a, near + o, far + o, there, gradient, width, rows, base, first && o == 0);
                continue;
            }
#endif
            backward_block<HALF, INPUT>(a, near + o, far + o, there, gradient, width, rows, base, first && o == 0);
        }
    });
}

// The width of the panel that begins where `left` samples are left: no wider than they need.
inline int64_t fitting(int64_t width, int64_t left) {
    while (width > LANES && width / 2 >= left) width /= 2;
    return width;
}

// Packs features `f` of sixteen-sample strips of the panel that begins at sample `b0`.
template <class T>
void pack_features(const T* x, int64_t batch, int64_t features, int64_t b0, int64_t width, Range f, T* panel) {
    for (int64_t f0 = f.first; f0 < f.last; f0 += 64) {
        int64_t n = std::min<int64_t>(64, f.last - f0);
        for (int64_t lane = 0; lane < width; lane += LANES) {
            int64_t samples = std::min<int64_t>(LANES, batch - b0 - lane);
            strip_in(x + (b0 + lane) * features + f0, features, n, std::max<int64_t>(samples, 0), panel + f0 * width + lane, every(width));
        }
    }
}

template <class T>
void unpack_features(const T* tile, int64_t batch, int64_t features, int64_t b0, int64_t width, Range f, T* y) {
    for (int64_t lane = 0; lane < width; lane += LANES) {
        int64_t samples = std::min<int64_t>(LANES, batch - b0 - lane);
        if (samples > 0) strip_out(tile + lane, every(width), f.last - f.first, samples, y + (b0 + lane) * features + f.first, features);
    }
}

// Zeroes gradients where the forward pass was cut off by ReLU, and adds up the bias gradient, for a range of features of
// one panel in the cache.
template <class S>
void mask_and_sum(const S* output, const S* gradient, S* masked, Wide<S>* bias_gradient, int64_t width, Range f, bool first) {
    using T = Wide<S>;
    constexpr int N = VL<T>;
    for (int64_t j = f.first; j < f.last; j++) {
        Vector<T> sum = zero<T>();
        for (int64_t v = 0; v < width; v += N) {
            Vector<T> g;
            read<1>(gradient + j * width + v, &g);
            if (output) {
                Vector<T> y;
                read<1>(output + j * width + v, &y);
                g = y > 0 ? g : zero<T>();
                write<1>(masked + j * width + v, &g);
            }
            sum += g;
        }
        if (bias_gradient) bias_gradient[j] = first ? total<T>(sum) : bias_gradient[j] + total<T>(sum);
    }
}

template <class T>
void take(const T* source, const void* permutation, int64_t wide, Range r, T* target) {
    if (wide == 4) {
        const int32_t* p = static_cast<const int32_t*>(permutation);
        for (int64_t k = r.first; k < r.last; k++) target[k] = source[p[k]];
    } else {
        const int64_t* p = static_cast<const int64_t*>(permutation);
        for (int64_t k = r.first; k < r.last; k++) target[k] = source[p[k]];
    }
}

template <class T>
void put(const T* source, const void* permutation, int64_t wide, Range r, T* target) {
    if (wide == 4) {
        const int32_t* p = static_cast<const int32_t*>(permutation);
        for (int64_t k = r.first; k < r.last; k++) target[p[k]] = source[k];
    } else {
        const int64_t* p = static_cast<const int64_t*>(permutation);
        for (int64_t k = r.first; k < r.last; k++) target[p[k]] = source[k];
    }
}

}  // namespace
}  // namespace wirings

using namespace wirings;

// Panels in, panels out.
API int wirings_forward_panels(int64_t stored, int64_t narrow, const int64_t* pointer, const void* column, const void* value,
                               const void* bias, int64_t relu, const void* x, void* y, int64_t panels, int64_t rows,
                               int64_t columns, int64_t width, int64_t threads) {
    return with_stored_types(stored, narrow, [&](auto s, auto c) {
        using S = decltype(s);
        using C = decltype(c);
        Rows<S, C> a{pointer, static_cast<const C*>(column), static_cast<const S*>(value), pointer[rows] - 1};
        const S* in = static_cast<const S*>(x);
        S* out = static_cast<S*>(y);
        team(threads, [&](int member, int size) {
            Range mine = rows_of(pointer, rows, member, size);
            for (int64_t p = 0; p < panels; p++) {
                forward_rows<S>(a, static_cast<const S*>(bias), relu != 0, in + p * columns * width, out + p * rows * width, width,
                             mine, 0);
            }
        });
    });
}

// (batch, columns) in, (batch, rows) out.
API int wirings_forward(int64_t stored, int64_t narrow, const int64_t* pointer, const void* column, const void* value,
                        const void* bias, int64_t relu, const void* x, void* y, int64_t batch, int64_t rows, int64_t columns,
                        int64_t most, int64_t threads) {
    return with_stored_types(stored, narrow, [&](auto s, auto c) {
        using S = decltype(s);
        using C = decltype(c);
        Rows<S, C> a{pointer, static_cast<const C*>(column), static_cast<const S*>(value), pointer[rows] - 1};
        const S* in = static_cast<const S*>(x);
        S* out = static_cast<S*>(y);
        Scratch<S> panel(columns * most);
        team(threads, [&](int member, int size) {
            alignas(64) S tile[TILE_ROWS * MAX_WIDTH];
            Range mine = rows_of(pointer, rows, member, size);
            for (int64_t b = 0; b < batch; b += most) {
                const int64_t width = fitting(most, batch - b);
                pack_features<S>(in, batch, columns, b, width, part(columns, member, size, 64), panel);
                meet();
                for (int64_t i = mine.first; i < mine.last; i += TILE_ROWS) {
                    Range block{i, std::min(i + TILE_ROWS, mine.last)};
                    forward_rows<S>(a, static_cast<const S*>(bias), relu != 0, panel, tile, width, block, i);
                    unpack_features<S>(tile, batch, rows, b, width, block, out);
                }
                meet();
            }
        });
    });
}

// The backward pass over the transposed index: x and grad in, gx (optional), gradient at the connections in the order of
// the transposed index, and gb (optional) out. `output` is given where the forward pass ended in ReLU. `permutation[k]` is
// the place of the k-th transposed connection in `value` and `gradient`.
API int wirings_backward_panels(int64_t stored, int64_t narrow, int64_t wide, const int64_t* pointer, const void* row,
                                const void* permutation, const void* value, const void* x, const void* grad,
                                const void* output, void* gx, void* gradient, void* gb, int64_t panels, int64_t rows,
                                int64_t columns, int64_t width, int64_t threads) {
    return with_stored_types(stored, narrow, [&](auto s, auto c) {
        using S = decltype(s);
        using T = Wide<S>;
        using C = decltype(c);
        const int64_t nnz = pointer[columns];
        Scratch<T> own_gradient(nnz);
        Scratch<S> own_values(nnz), masked(output ? rows * width : 0);
        Rows<S, C> a{pointer, static_cast<const C*>(row), own_values, nnz - 1};
        team(threads, [&](int member, int size) {
            Range mine = rows_of(pointer, columns, member, size), connections{pointer[mine.first], pointer[mine.last]};
            Range features = part(rows, member, size, 16);
            take<S>(static_cast<const S*>(value), permutation, wide, connections, own_values);
            for (int64_t p = 0; p < panels; p++) {
                const S* g = static_cast<const S*>(grad) + p * rows * width;
                if (output || gb) {
                    mask_and_sum<S>(output ? static_cast<const S*>(output) + p * rows * width : nullptr, g, masked,
                                    static_cast<T*>(gb), width, features, p == 0);
                }
                if (output) {
                    meet();
                    g = masked;
                }
                const S* near = static_cast<const S*>(x) + p * columns * width;
                if (gx) {
                    backward_rows<true, S>(a, near, g, static_cast<S*>(gx) + p * columns * width, own_gradient, width, mine, 0,
                                           p == 0);
                } else {
                    backward_rows<false, S>(a, near, g, nullptr, own_gradient, width, mine, 0, p == 0);
                }
                if (output) meet();
            }
            put<T>(own_gradient, permutation, wide, connections, static_cast<T*>(gradient));
        });
    });
}

// The same on (batch, columns) x, (batch, rows) grad and output, (batch, columns) gx.
API int wirings_backward(int64_t stored, int64_t narrow, int64_t wide, const int64_t* pointer, const void* row,
                         const void* permutation, const void* value, const void* x, const void* grad, const void* output,
                         void* gx, void* gradient, void* gb, int64_t batch, int64_t rows, int64_t columns, int64_t most,
                         int64_t threads) {
    return with_stored_types(stored, narrow, [&](auto s, auto c) {
        using S = decltype(s);
        using T = Wide<S>;
        using C = decltype(c);
        const int64_t nnz = pointer[columns];
        Scratch<T> own_gradient(nnz);
        Scratch<S> own_values(nnz), near(columns * most), far(rows * most), outputs(output ? rows * most : 0);
        Rows<S, C> a{pointer, static_cast<const C*>(row), own_values, nnz - 1};
        team(threads, [&](int member, int size) {
            alignas(64) S tile[TILE_ROWS * MAX_WIDTH];
            Range mine = rows_of(pointer, columns, member, size), connections{pointer[mine.first], pointer[mine.last]};
            Range features = part(rows, member, size, 64);
            take<S>(static_cast<const S*>(value), permutation, wide, connections, own_values);
            for (int64_t b = 0; b < batch; b += most) {
                const int64_t width = fitting(most, batch - b);
                pack_features<S>(static_cast<const S*>(x), batch, columns, b, width, part(columns, member, size, 64), near);
                pack_features<S>(static_cast<const S*>(grad), batch, rows, b, width, features, far);
                if (output) pack_features<S>(static_cast<const S*>(output), batch, rows, b, width, features, outputs);
                if (output || gb) {
                    mask_and_sum<S>(outputs.only_if(output != nullptr), far, far, static_cast<T*>(gb), width, features, b == 0);
                }
                meet();
                if (gx) {
                    for (int64_t i = mine.first; i < mine.last; i += TILE_ROWS) {
                        Range block{i, std::min(i + TILE_ROWS, mine.last)};
                        backward_rows<true, S>(a, near, far, tile, own_gradient, width, block, i, b == 0);
                        unpack_features<S>(tile, batch, columns, b, width, block, static_cast<S*>(gx));
                    }
                } else {
                    backward_rows<false, S>(a, near, far, nullptr, own_gradient, width, mine, 0, b == 0);
                }
                meet();
            }
            put<T>(own_gradient, permutation, wide, connections, static_cast<T*>(gradient));
        });
    });
}

// gradient[k] = sum over samples of grad[row k] x[column k], in the order of the (not transposed) index; panels in.
API int wirings_sddmm_panels(int64_t stored, int64_t narrow, const int64_t* pointer, const void* column, const void* grad,
                             const void* x, void* gradient, int64_t panels, int64_t rows, int64_t columns, int64_t width,
                             int64_t threads) {
    return with_stored_types(stored, narrow, [&](auto s, auto c) {
        using S = decltype(s);
        using T = Wide<S>;
        using C = decltype(c);
        Rows<S, C> a{pointer, static_cast<const C*>(column), nullptr, pointer[rows] - 1};
        team(threads, [&](int member, int size) {
            Range mine = rows_of(pointer, rows, member, size);
            for (int64_t p = 0; p < panels; p++) {
                backward_rows<false, S>(a, static_cast<const S*>(grad) + p * rows * width,
                                        static_cast<const S*>(x) + p * columns * width, nullptr,
                                        static_cast<T*>(gradient), width, mine, 0, p == 0);
            }
        });
    });
}

// The same with (batch, rows) grad, its ReLU output (optional), (batch, columns) x; gb (optional) out.
API int wirings_sddmm(int64_t stored, int64_t narrow, const int64_t* pointer, const void* column, const void* grad,
                      const void* x, const void* output, void* gradient, void* gb, int64_t batch, int64_t rows,
                      int64_t columns, int64_t most, int64_t threads) {
    return with_stored_types(stored, narrow, [&](auto s, auto c) {
        using S = decltype(s);
        using T = Wide<S>;
        using C = decltype(c);
        Scratch<S> near(rows * most), far(columns * most), outputs(output ? rows * most : 0);
        Rows<S, C> a{pointer, static_cast<const C*>(column), nullptr, pointer[rows] - 1};
        team(threads, [&](int member, int size) {
            Range mine = rows_of(pointer, rows, member, size), features = part(rows, member, size, 64);
            for (int64_t b = 0; b < batch; b += most) {
                const int64_t width = fitting(most, batch - b);
                pack_features<S>(static_cast<const S*>(grad), batch, rows, b, width, features, near);
                pack_features<S>(static_cast<const S*>(x), batch, columns, b, width, part(columns, member, size, 64), far);
                if (output) pack_features<S>(static_cast<const S*>(output), batch, rows, b, width, features, outputs);
                if (output || gb) {
                    mask_and_sum<S>(outputs.only_if(output != nullptr), near, near, static_cast<T*>(gb), width, features, b == 0);
                }
                meet();
                backward_rows<false, S>(a, near, far, nullptr, static_cast<T*>(gradient), width, mine, 0, b == 0);
                meet();
            }
        });
    });
}

// (batch, features) <-> [panel][feature][width].
API int wirings_pack(int64_t stored, const void* x, void* panels, int64_t batch, int64_t features, int64_t width, int64_t threads) {
    return with_stored(stored, [&](auto s) {
        using S = decltype(s);
        team(threads, [&](int member, int size) {
            Range mine = part(features, member, size, 64);
            for (int64_t b = 0; b < batch; b += width) {
                pack_features<S>(static_cast<const S*>(x), batch, features, b, width, mine, static_cast<S*>(panels) + b * features);
            }
        });
    });
}

API int wirings_unpack(int64_t stored, const void* panels, void* y, int64_t batch, int64_t features, int64_t width, int64_t threads) {
    return with_stored(stored, [&](auto s) {
        using S = decltype(s);
        team(threads, [&](int member, int size) {
            Range mine = part(features, member, size, 64);
            for (int64_t b = 0; b < batch; b += width) {
                for (int64_t f = mine.first; f < mine.last; f += 64) {
                    Range block{f, std::min<int64_t>(f + 64, mine.last)};
                    unpack_features<S>(static_cast<const S*>(panels) + b * features + f * width, batch, features, b, width, block,
                                       static_cast<S*>(y));
                }
            }
        });
    });
}

// Bias gradient and, where `output` is given, ReLU's mask applied to a panel gradient (`masked` may be `grad` itself).
API int wirings_mask_panels(int64_t stored, const void* output, const void* grad, void* masked, void* gb, int64_t panels,
                            int64_t features, int64_t width, int64_t threads) {
    return with_stored(stored, [&](auto s) {
        using S = decltype(s);
        using T = Wide<S>;
        team(threads, [&](int member, int size) {
            Range mine = part(features, member, size, 16);
            for (int64_t p = 0; p < panels; p++) {
                int64_t at = p * features * width;
                mask_and_sum<S>(output ? static_cast<const S*>(output) + at : nullptr, static_cast<const S*>(grad) + at,
                                masked ? static_cast<S*>(masked) + at : nullptr, static_cast<T*>(gb), width, mine, p == 0);
            }
        });
    });
}

// target[k] = source[permutation[k]], or with `scatter` target[permutation[k]] = source[k].
API int wirings_permute(int64_t real, int64_t wide, const void* source, const void* permutation, void* target, int64_t n,
                        int64_t scatter, int64_t threads) {
    return with_real(real, [&](auto r) {
        using T = decltype(r);
        team(threads, [&](int member, int size) {
            Range mine = part(n, member, size, 1024);
            const T* s = static_cast<const T*>(source);
            scatter ? put<T>(s, permutation, wide, mine, static_cast<T*>(target))
                    : take<T>(s, permutation, wide, mine, static_cast<T*>(target));
        });
    });
}
