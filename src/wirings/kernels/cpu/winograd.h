// Convolutions with kernels of 3 x 3, stride 1 and many connections by Winograd's short algorithm F(4 x 4, 3 x 3): a tile of
// 4 x 4 output pixels takes 36 products of a channel where the definition takes 144, and one of 6 x 6 input pixels is turned
// into the 36 factors beforehand. Missing connections are zeros of the kernel before it is turned, so none has an influence;
// all 36 products of a pair of channels are made, whichever of its nine connections there are.
//
// Y = A^T [(G w G^T) * (B^T d B)] A (Winograd, 1980; Lavin & Gray, 2016, equation 8), with the interpolation points 0, 3/4,
// -3/4, 3/2, -3/2 and infinity instead of theirs: every constant is exact, and the error is a third of theirs, about three
// times that of the definition (Barabasz et al., 2020, compare such points). What is infinite or no number spreads over its
// tile; so a tile that does not end finite says so, and the caller makes it again from the connections alone.
#pragma once

#include <algorithm>
#include <atomic>

#include "common.h"
#include "planes.h"
#include "strips.h"
#include "vector.h"

namespace wirings::winograd {

constexpr int TILE = 4, WINDOW = TILE + 2, POINTS = WINDOW * WINDOW, TAPS = 9;
constexpr int64_t CHUNK = 64;  // numbers of a channel at a point, of as many tiles: their factors stay in the second-level cache
template <class S>
constexpr int TILES = CHUNK / LANES_OF<S>;
constexpr double P = 0.75, Q = 1.5;       // the points, with both signs
constexpr double P2 = P * P, Q2 = Q * Q, BOTH = P2 + Q2, PRODUCT = P2 * Q2;

// So many rows by so many vectors of sums stay in registers: of outputs by samples, of inputs by outputs.
constexpr int ROWS = 6, VECTORS = WIRINGS_VECTOR_BYTES == 64 ? 4 : 2;
constexpr int GRADIENT_INPUTS = WIRINGS_VECTOR_BYTES == 64 ? 12 : 6, GRADIENT_VECTORS = 2;
constexpr int64_t AT_ONCE = 2 * ROWS;    // output channels whose products stay in the first-level cache
constexpr int64_t OUTPUTS = 2 * LANES;   // output channels whose gradients' factors stay in the second-level cache

inline int64_t padded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// As many numbers at each of the points. What is kept apart between them keeps them apart in the caches.
template <class T>
struct Points {
    T* data;
    int64_t each;

    int64_t apart() const { return each + 32; }
    T* at(int point) const { return data + point * apart(); }
    static int64_t size(int64_t each) { return POINTS * (each + 32); }
};

// The one-dimensional transforms; V is a vector or a number, numbers `step` apart.
template <class T, class V>
INLINE void input_line(const V* d, int step, V* v, int to) {  // B^T: six to six
    const V d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step];
    const V even = d4 - T(Q2) * d2, odd = T(P) * (d3 - T(Q2) * d1), other = d4 - T(P2) * d2, last = T(Q) * (d3 - T(P2) * d1);
    v[0] = d4 - T(BOTH) * d2 + T(PRODUCT) * d[0];
    v[to] = even + odd;
    v[2 * to] = even - odd;
    v[3 * to] = other + last;
    v[4 * to] = other - last;
    v[5 * to] = d[5 * step] - T(BOTH) * d3 + T(PRODUCT) * d1;
}

template <class T, class V>
INLINE void output_line(const V* m, int step, V* y, int to) {  // A^T: six to four
    const V one = m[step] + m[2 * step], less = m[step] - m[2 * step];
    const V two = m[3 * step] + m[4 * step], fewer = m[3 * step] - m[4 * step];
    y[0] = m[0] + one + two;
    y[to] = T(P) * less + T(Q) * fewer;
    y[2 * to] = T(P2) * one + T(Q2) * two;
    y[3 * to] = T(P * P2) * less + T(Q * Q2) * fewer + m[5 * step];
}

template <class T, class V>
INLINE void gradient_line(const V* y, int step, V* e, int to) {  // A: four to six
    const V even = y[0] + T(P2) * y[2 * step], odd = T(P) * (y[step] + T(P2) * y[3 * step]);
    const V other = y[0] + T(Q2) * y[2 * step], last = T(Q) * (y[step] + T(Q2) * y[3 * step]);
    e[0] = y[0];
    e[to] = even + odd;
    e[2 * to] = even - odd;
    e[3 * to] = other + last;
    e[4 * to] = other - last;
    e[5 * to] = y[3 * step];
}

constexpr double AT_ZERO = 1 / PRODUCT, AT_P = 1 / (2 * P2 * (P2 - Q2)), AT_Q = 1 / (2 * Q2 * (Q2 - P2));

template <class T, class V>
INLINE void kernel_line(const V* w, int step, V* u, int to) {  // G: three to six
    const V even = T(AT_P) * w[0] + T(AT_P * P2) * w[2 * step], odd = T(AT_P * P) * w[step];
    const V other = T(AT_Q) * w[0] + T(AT_Q * Q2) * w[2 * step], last = T(AT_Q * Q) * w[step];
    u[0] = T(AT_ZERO) * w[0];
    u[to] = even + odd;
    u[2 * to] = even - odd;
    u[3 * to] = other + last;
    u[4 * to] = other - last;
    u[5 * to] = w[2 * step];
}

template <class T, class V>
INLINE void weight_line(const V* u, int step, V* w, int to) {  // G^T: six to three
    const V one = u[step] + u[2 * step], two = u[3 * step] + u[4 * step];
    w[0] = T(AT_ZERO) * u[0] + T(AT_P) * one + T(AT_Q) * two;
    w[to] = T(AT_P * P) * (u[step] - u[2 * step]) + T(AT_Q * Q) * (u[3 * step] - u[4 * step]);
    w[2 * to] = T(AT_P * P2) * one + T(AT_Q * Q2) * two + u[5 * step];
}

// Lines of both directions, one after the other: FROM x FROM numbers to TO x TO.
template <int FROM, int TO, class V, class F>
INLINE void both_ways(const V* from, V* to, F&& line) {
    V half[TO * FROM];
#pragma GCC unroll 8
    for (int x = 0; x < FROM; x++) line(from + x, FROM, half + x, FROM);
#pragma GCC unroll 8
    for (int y = 0; y < TO; y++) line(half + y * FROM, 1, to + y * TO, 1);
}

// The output's tiles, one row after the other, panel after panel.
template <class S>
struct Mosaic {
    int64_t panels, height, width;

    int64_t high() const { return (height + TILE - 1) / TILE; }
    int64_t wide() const { return (width + TILE - 1) / TILE; }
    int64_t tiles() const { return panels * high() * wide(); }
    int64_t chunks() const { return (tiles() + TILES<S> - 1) / TILES<S>; }
};

struct Tile {
    int64_t panel, y, x, rows, columns;  // rows and columns that lie in the image

    template <class S>
    Tile(const Mosaic<S>& m, int64_t number)
        : panel(number / (m.high() * m.wide())),
          y(number / m.wide() % m.high() * TILE),
          x(number % m.wide() * TILE),
          rows(std::min<int64_t>(TILE, m.height - y)),
          columns(std::min<int64_t>(TILE, m.width - x)) {}
};

// A vector of samples of SIDE x SIDE pixels of a channel from `from` on, of which `rows` x `columns` exist; the others are zero.
template <int SIDE, class S>
INLINE void pixels(const S* from, int which, int64_t row, int64_t rows, int64_t columns, Vector<Wide<S>>* d) {
    constexpr int64_t L = LANES_OF<S>;
    if (rows >= SIDE && columns >= SIDE) {
#pragma GCC unroll 8
        for (int y = 0; y < SIDE; y++) {
#pragma GCC unroll 8
            for (int x = 0; x < SIDE; x++) d[y * SIDE + x] = read_one(from + y * row + x * L, which);
        }
    } else {
        for (int y = 0; y < SIDE; y++) {
            for (int x = 0; x < SIDE; x++) d[y * SIDE + x] = y < rows && x < columns ? read_one(from + y * row + x * L, which) : zero<Wide<S>>();
        }
    }
}

// Asks for the tile of the next channel ahead of time, to read or (1) to write: its plane is too far away for the processor to
// foresee it. Worth a fifth of the time.
template <int WRITE, class S>
INLINE void fetch(const S* from, int64_t row, int64_t rows) {
    for (int64_t y = 0; y < rows; y++) {
#pragma GCC unroll 4
        for (int i = 0; i < TILE; i++) __builtin_prefetch(from + y * row + i * LANES_OF<S>, WRITE);
    }
}

// The factors of SIDE x SIDE pixels of `have` channels from plane `first` on, for every tile of a chunk: CHUNK numbers a channel.
// The output's pixel (0, 0) sees them from (origin, origin) on. Tiles past the last are zero.
template <int SIDE, class S, class F>
void factors(const Planes& planes, const S* x, const Mosaic<S>& mosaic, int64_t chunk, int64_t origin, int64_t first, int64_t have,
             const Points<Wide<S>>& to, F&& line) {
    using T = Wide<S>;
    constexpr int R = TOGETHER<S>, L = LANES_OF<S>;
    struct {
        const S* from;
        int64_t rows, columns;
    } seen[TILES<S>];
    const int64_t tiles = std::min<int64_t>(TILES<S>, mosaic.tiles() - chunk * TILES<S>);
    for (int64_t t = 0; t < tiles; t++) {
        const Tile tile(mosaic, chunk * TILES<S> + t);
        const int64_t y = tile.y + origin, x0 = tile.x + origin;
        const bool whole = SIDE == WINDOW;  // output pixels end with the image, input pixels with its halo
        seen[t] = {x + tile.panel * planes.panel() + first * planes.plane() + planes.at(y, x0),
                   whole ? planes.height + planes.halo - y : tile.rows, whole ? planes.width + planes.halo - x0 : tile.columns};
    }
    for (int64_t c = 0; c < have; c++) {
        T* own = to.data + c * CHUNK;
        for (int64_t t = 0; t < tiles; t++) {
            const S* from = seen[t].from + c * planes.plane();
            if (c + 1 < have) fetch<0>(from + planes.plane(), planes.row(), std::min<int64_t>(SIDE, seen[t].rows));
#pragma GCC unroll 4
            for (int v = 0; v < L / VL<T>; v++) {
                Vector<T> d[SIDE * SIDE], f[POINTS];
                pixels<SIDE>(from + v / R * R * VL<T>, v % R, planes.row(), seen[t].rows, seen[t].columns, d);
                both_ways<SIDE, WINDOW>(d, f, line);
                T* o = own + t * L + v * VL<T>;
#pragma GCC unroll 8
                for (int p = 0; p < POINTS; p++, o += to.apart()) store(o, f[p]);
            }
        }
        for (int p = 0; p < POINTS; p++) std::fill(own + p * to.apart() + tiles * L, own + p * to.apart() + CHUNK, T(0));
    }
}

// m = u v, or added to what is there: M rows by N vectors, summed over `columns`. Of u, rows are U apart and columns V.
template <int M, int N, int64_t U, int64_t V, bool ONTO, class T>
INLINE void product(const T* u, int64_t columns, const T* v, int64_t v_step, T* m, int64_t m_step) {
    Vector<T> sum[M][N];
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < N; j++) sum[i][j] = zero<T>();
    }
    for (int64_t k = 0; k < columns; k++, u += V, v += v_step) {
        Vector<T> from[N];
#pragma GCC unroll 8
        for (int j = 0; j < N; j++) from[j] = load(v + j * VL<T>);
#pragma GCC unroll 16
        for (int i = 0; i < M; i++) {
            const Vector<T> some = splat(u[i * U]);
#pragma GCC unroll 8
            for (int j = 0; j < N; j++) sum[i][j] += some * from[j];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < N; j++) {
            T* o = m + i * m_step + j * VL<T>;
            store(o, ONTO ? load(o) + sum[i][j] : sum[i][j]);  // sums of sums: rounding errors stay small
        }
    }
}

// The kernels' factors: block by block of ROWS output channels, in each input channel by input channel.
template <class T>
struct Kernels {
    Points<T> points;
    int64_t columns;

    T* block(int point, int64_t number) const { return points.at(point) + number * columns * ROWS; }
    static int64_t each(int64_t rows, int64_t columns) { return padded(rows, AT_ONCE) * columns; }

    // Those of output channel `row` from its weights, taps[tap * step + input channel]; `step` is a multiple of LANES.
    void set(int64_t row, const T* taps, int64_t step) const {
        for (int64_t c = 0; c < columns; c += VL<T>) {
            Vector<T> w[TAPS], f[POINTS];
            for (int tap = 0; tap < TAPS; tap++) w[tap] = load(taps + tap * step + c);
            both_ways<3, WINDOW>(w, f, [](auto... a) INLINE_LAMBDA { kernel_line<T>(a...); });
            for (int p = 0; p < POINTS; p++) {
                T* to = block(p, row / ROWS) + c * ROWS + row % ROWS;
                for (int64_t i = 0; i < std::min<int64_t>(VL<T>, columns - c); i++) to[i * ROWS] = f[p][i];
            }
        }
    }
};

// What an output tile is made onto, and how it ends.
template <class S>
struct Ending {
    const S* bias;
    const S* whole;  // the output's first element
    const S* onto;   // laid out as the output, or none
    bool relu;
};

// Output pixels of channels first ... last - 1 of a chunk from their products; which tiles do not end finite, as bits.
template <class S>
unsigned output_tiles(const Planes& out, S* y, const Mosaic<S>& mosaic, int64_t chunk, const Points<Wide<S>>& m, const Ending<S>& ending, Range channels) {
    using T = Wide<S>;
    constexpr int R = TOGETHER<S>, L = LANES_OF<S>;
    unsigned wrong = 0;
    for (int t = 0; t < TILES<S> && chunk * TILES<S> + t < mosaic.tiles(); t++) {
        const Tile tile(mosaic, chunk * TILES<S> + t);
        S* to = y + tile.panel * out.panel() + channels.first * out.plane() + out.at(tile.y, tile.x);
        auto bad = zero<T>() != zero<T>();
        for (int64_t r = channels.first; r < channels.last; r++, to += out.plane()) {
            if (r + 1 < channels.last) fetch<1>(to + out.plane(), out.row(), tile.rows);
            for (int lane = 0; lane < L; lane += R * VL<T>) {
                Vector<T> sum[R][TILE * TILE];
#pragma GCC unroll 2
                for (int j = 0; j < R; j++) {
                    Vector<T> f[POINTS];
                    const T* from = m.data + (r - channels.first) * CHUNK + t * L + lane + j * VL<T>;
#pragma GCC unroll 8
                    for (int p = 0; p < POINTS; p++, from += m.apart()) f[p] = load(from);
                    both_ways<WINDOW, TILE>(f, sum[j], [](auto... a) INLINE_LAMBDA { output_line<T>(a...); });
                }
                auto end = [&](int64_t i) INLINE_LAMBDA {
                    S* o = to + i / TILE * out.row() + i % TILE * L + lane;
                    Vector<T> whole[R], onto[R];
                    if (ending.onto) read<R>(ending.onto + (o - ending.whole), onto);
#pragma GCC unroll 2
                    for (int j = 0; j < R; j++) {
                        Vector<T> s = sum[j][i];
                        if (ending.onto) s += onto[j];
                        if (ending.bias) s += splat(widened(ending.bias[r]));
                        bad |= s - s != zero<T>();
                        whole[j] = ending.relu ? positive_part<T>(s) : s;
                    }
                    write<R>(o, whole);
                };
                if (tile.rows == TILE && tile.columns == TILE) {
#pragma GCC unroll 16
                    for (int64_t i = 0; i < TILE * TILE; i++) end(i);
                } else {
                    for (int64_t i = 0; i < TILE * TILE; i++) {
                        if (i / TILE < tile.rows && i % TILE < tile.columns) end(i);
                    }
                }
            }
        }
        for (int i = 0; i < VL<T>; i++) wrong |= bad[i] ? 1u << t : 0u;
    }
    return wrong;
}

// A chunk of the output; which of its tiles do not end finite, as bits.
template <class S, class T>
unsigned outputs_of(const Planes& in, const S* x, const Mosaic<S>& mosaic, int64_t chunk, int64_t origin, const Kernels<T>& u, const Points<T>& v,
                    const Points<T>& m, const Ending<S>& ending, const Planes& out, S* y) {
    factors<WINDOW>(in, x, mosaic, chunk, origin, 0, in.channels, v, [](auto... a) INLINE_LAMBDA { input_line<T>(a...); });
    unsigned wrong = 0;
    for (int64_t r = 0; r < out.channels; r += AT_ONCE) {
        for (int p = 0; p < POINTS; p++) {
            for (int64_t i = 0; i < AT_ONCE; i += ROWS) {
                for (int64_t j = 0; j < CHUNK; j += VECTORS * VL<T>) {
                    product<ROWS, VECTORS, 1, ROWS, false>(u.block(p, (r + i) / ROWS), in.channels, v.at(p) + j, CHUNK, m.at(p) + i * CHUNK + j, CHUNK);
                }
            }
        }
        wrong |= output_tiles(out, y, mosaic, chunk, m, ending, {r, std::min(r + AT_ONCE, out.channels)});
    }
    return wrong;
}

// The convolution of x into y, halo included. Threads call begin(member, size) first; spread(row, taps, step) writes the
// weights of an output channel that are not zero to taps[tap * step + input channel]; again(tile) makes a tile anew.
template <class S, class Begin, class Spread, class Again>
void convolve(int64_t panels, const Planes& in, const S* x, const Planes& out, S* y, int64_t origin, const Ending<S>& ending, int64_t threads,
              Begin&& begin, Spread&& spread, Again&& again) {
    using T = Wide<S>;
    const Mosaic<S> mosaic{panels, out.height, out.width};
    const int64_t step = padded(in.channels, LANES), inputs = in.channels * CHUNK, outputs = AT_ONCE * CHUNK;
    const int64_t kernels = Kernels<T>::each(out.channels, in.channels);
    Scratch<T> kernel(Points<T>::size(kernels)), taps(threads * TAPS * step);
    Scratch<T> seen(threads * Points<T>::size(inputs)), made(threads * Points<T>::size(outputs));
    const Kernels<T> u{{kernel, kernels}, in.channels};
    std::atomic<int64_t> halo{0}, next{0};
    team(threads, [&](int member, int size) {
        begin(member, size);
        T* own = taps + member * TAPS * step;
        const Range mine = part(padded(out.channels, AT_ONCE), member, size);  // rows past the last are zero
        for (int64_t r = mine.first; r < mine.last; r++) {
            std::fill_n(own, TAPS * step, T(0));
            if (r < out.channels) spread(r, own, step);
            u.set(r, own, step);
        }
        deal(halo, panels * out.channels, [&](int64_t job) { clear_halo(y + job * out.plane(), out); });
        meet();
        const Points<T> v{seen + member * Points<T>::size(inputs), inputs}, m{made + member * Points<T>::size(outputs), outputs};
        deal(next, mosaic.chunks(), [&](int64_t chunk) {
            const unsigned wrong = outputs_of(in, x, mosaic, chunk, origin, u, v, m, ending, out, y);
            for (int t = 0; t < TILES<S>; t++) {
                if (wrong >> t & 1) again(Tile(mosaic, chunk * TILES<S> + t));
            }
        });
    });
}

// The gradient of every weight: found[(output channel / 32 * inputs + input channel) * 9 + tap) * 32 + output channel % 32].
template <class S>
void weight_gradient(int64_t panels, const Planes& in, const S* x, const Planes& out, const S* grad, int64_t origin, Wide<S>* found, int64_t threads) {
    using T = Wide<S>;
    const Mosaic<S> mosaic{panels, out.height, out.width};
    const int64_t groups = padded(out.channels, OUTPUTS) / OUTPUTS, channels = padded(in.channels, GRADIENT_INPUTS);
    const int64_t share = padded((in.channels + threads - 1) / threads, GRADIENT_INPUTS) + GRADIENT_INPUTS;
    const int64_t inputs = share * CHUNK, outputs = OUTPUTS * CHUNK, sums = groups * channels * OUTPUTS;
    Scratch<T> all(Points<T>::size(sums)), seen(threads * Points<T>::size(inputs));
    Scratch<T> plain(threads * Points<T>::size(outputs)), turned(threads * outputs);
    const Points<T> sum{all, sums};
    team(threads, [&](int member, int size) {
        const Range mine = part(in.channels, member, size, GRADIENT_INPUTS);
        const int64_t count = mine.last - mine.first, room = padded(count, GRADIENT_INPUTS);
        if (count == 0) return;
        const Points<T> v{seen + member * Points<T>::size(inputs), inputs};
        const Points<T> e{plain + member * Points<T>::size(outputs), outputs};
        T* d = turned + member * outputs;  // samples by channels
        for (int p = 0; p < POINTS; p++) {
            std::fill(v.at(p) + count * CHUNK, v.at(p) + room * CHUNK, T(0));
            for (int64_t g = 0; g < groups; g++) std::fill_n(sum.at(p) + (g * channels + mine.first) * OUTPUTS, room * OUTPUTS, T(0));
        }
        for (int64_t chunk = 0; chunk < mosaic.chunks(); chunk++) {
            factors<WINDOW>(in, x, mosaic, chunk, origin, mine.first, count, v, [](auto... a) INLINE_LAMBDA { input_line<T>(a...); });
            for (int64_t g = 0; g < groups; g++) {
                const int64_t have = std::min(OUTPUTS, out.channels - g * OUTPUTS);
                factors<TILE>(out, grad, mosaic, chunk, 0, g * OUTPUTS, have, e, [](auto... a) INLINE_LAMBDA { gradient_line<T>(a...); });
                for (int p = 0; p < POINTS; p++) {
                    for (int64_t i = 0; i < CHUNK; i += LANES) {
                        for (int64_t r = 0; r < OUTPUTS; r += LANES) {
                            strip_in<T>(e.at(p) + r * CHUNK + i, CHUNK, LANES, std::clamp<int64_t>(have - r, 0, LANES), d + i * OUTPUTS + r,
                                        every(OUTPUTS));
                        }
                    }
                    for (int64_t i = 0; i < room; i += GRADIENT_INPUTS) {
                        T* to = sum.at(p) + (g * channels + mine.first + i) * OUTPUTS;
                        for (int64_t j = 0; j < OUTPUTS; j += GRADIENT_VECTORS * VL<T>) {
                            product<GRADIENT_INPUTS, GRADIENT_VECTORS, CHUNK, 1, true>(v.at(p) + i * CHUNK, CHUNK, d + j, OUTPUTS, to + j, OUTPUTS);
                        }
                    }
                }
            }
        }
        for (int64_t g = 0; g < groups; g++) {
            for (int64_t c = mine.first; c < mine.last; c++) {
                for (int64_t j = 0; j < OUTPUTS; j += VL<T>) {
                    Vector<T> f[POINTS], w[TAPS];
                    for (int p = 0; p < POINTS; p++) f[p] = load(sum.at(p) + (g * channels + c) * OUTPUTS + j);
                    both_ways<WINDOW, 3>(f, w, [](auto... a) INLINE_LAMBDA { weight_line<T>(a...); });
                    for (int tap = 0; tap < TAPS; tap++) store(found + ((g * in.channels + c) * TAPS + tap) * OUTPUTS + j, w[tap]);
                }
            }
        }
    });
}

}  // namespace wirings::winograd
