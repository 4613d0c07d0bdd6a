// Batch normalisation in planes, with the residual addition and the ReLU that follow it. One thread owns a channel, sums run
// lane by lane over a plane and on in double from plane to plane; padding lanes and the halo stay out of the statistics.
#include <algorithm>
#include <cmath>

#include "common.h"
#include "planes.h"
#include "vector.h"

namespace wirings {
namespace {

constexpr int CHAINS = 4;  // sums that run side by side, so that none waits for the one before

template <class T>
struct Two {
    Vector<T> one, other;
};

// Which lanes of the vectors that are read together hold samples, where `left` of them are left.
template <class S>
struct Samples {
    using T = Wide<S>;
    static constexpr int R = TOGETHER<S>, N = VL<T>;
    decltype(zero<T>() < zero<T>()) lane[R];

    explicit Samples(int64_t left) {
        for (int j = 0; j < R; j++) {
            Vector<T> number;
            for (int l = 0; l < N; l++) number[l] = T(R * l + j);  // bfloat16: even ones, odd ones
            lane[j] = number < splat(T(std::clamp<int64_t>(left, 0, R * N)));
        }
    }
};

// Calls work(offset of vectors in their panel's plane, which of their lanes are samples, number of a chain) for every image
// vector of a channel, as many as are read together. `samples` may be more than there are lanes.
template <class S, class F>
INLINE void each_vector(const Planes& p, int64_t samples, F&& work) {
    constexpr int64_t L = LANES_OF<S>, N = TOGETHER<S> * VL<Wide<S>>;
    auto walk = [&](auto&& real) INLINE_LAMBDA {
        for (int64_t y = 0; y < p.height; y++) {
            const int64_t at = p.at(y, 0), end = p.width * L;
            int64_t x = 0;
            for (; x + CHAINS * N <= end; x += CHAINS * N) {
#pragma GCC unroll 4
                for (int i = 0; i < CHAINS; i++) work(at + x + i * N, real(x + i * N), i);
            }
            for (; x < end; x += N) work(at + x, real(x), 0);
        }
    };
    if (samples >= L) {
        const Samples<S> all(N);
        walk([&](int64_t) INLINE_LAMBDA { return all; });
    } else {
        walk([&](int64_t x) INLINE_LAMBDA { return Samples<S>(samples - x % L); });
    }
}

struct Sums {
    double one = 0, other = 0;
};

// Adds up what work(offset, which lanes are samples, two) gives, over the samples of a channel in all panels.
template <class S, class F>
Sums sum_channel(const Planes& p, int64_t batch, int64_t channel, F&& work) {
    using T = Wide<S>;
    constexpr int R = TOGETHER<S>;
    Sums sums;
    for (int64_t panel = 0; panel * LANES_OF<S> < batch; panel++) {
        Two<T> sum[CHAINS] = {};
        int64_t base = panel * p.panel() + channel * p.plane();
        each_vector<S>(p, batch - panel * LANES_OF<S>, [&](int64_t at, const auto& real, int chain) INLINE_LAMBDA {
            Two<T> found[R];
            work(base + at, real, found);
#pragma GCC unroll 2
            for (int j = 0; j < R; j++) {
                sum[chain].one += real.lane[j] ? found[j].one : zero<T>();
                sum[chain].other += real.lane[j] ? found[j].other : zero<T>();
            }
        });
        sums.one += double(total<T>((sum[0].one + sum[1].one) + (sum[2].one + sum[3].one)));
        sums.other += double(total<T>((sum[0].other + sum[1].other) + (sum[2].other + sum[3].other)));
    }
    return sums;
}

// What batch normalisation does to one channel.
template <class T>
struct Affine {
    Vector<T> centre, scale, shift;

    Affine(T mean, T variance, double epsilon, const void* weight, const void* bias, int64_t c) {
        centre = splat(mean);
        scale = splat(T(1.0 / std::sqrt(double(variance) + epsilon)) * (weight ? static_cast<const T*>(weight)[c] : T(1)));
        shift = splat(bias ? static_cast<const T*>(bias)[c] : T(0));
    }
    INLINE Vector<T> operator()(Vector<T> x) const { return (x - centre) * scale + shift; }
};

}  // namespace
}  // namespace wirings

using namespace wirings;

// y = act((x - mean) / sqrt(variance + epsilon) * weight + bias + residual). Unless `given`, mean and (biased) variance are
// those of the batch and come out. What there is one of for a channel is float for images of bfloat16.
API int wirings_norm_forward(int64_t stored, const void* x, const void* residual, const void* weight, const void* bias, void* mean,
                             void* variance, int64_t given, double epsilon, int64_t relu, void* y, int64_t batch, int64_t channels,
                             int64_t height, int64_t width, int64_t halo, int64_t threads) {
    return with_stored(stored, [&](auto s) {
        using S = decltype(s);
        using T = Wide<S>;
        constexpr int R = TOGETHER<S>;
        const Planes p{channels, height, width, halo, LANES_OF<S>};
        const S *in = static_cast<const S*>(x), *extra = static_cast<const S*>(residual);
        S* out = static_cast<S*>(y);
        T *means = static_cast<T*>(mean), *variances = static_cast<T*>(variance);
        std::atomic<int64_t> next{0};
        team(threads, [&](int, int) {
            deal(next, channels, [&](int64_t c) {
                if (!given) {
                    const double count = double(batch) * double(height * width);
                    const Sums first = sum_channel<S>(p, batch, c, [&](int64_t at, const auto&, Two<T>* found) INLINE_LAMBDA {
                        Vector<T> v[R];
                        read<R>(in + at, v);
#pragma GCC unroll 2
                        for (int j = 0; j < R; j++) found[j] = {v[j], zero<T>()};
                    });
                    means[c] = T(first.one / count);
                    Vector<T> centre = splat(means[c]);
                    const Sums second = sum_channel<S>(p, batch, c, [&](int64_t at, const auto&, Two<T>* found) INLINE_LAMBDA {
                        Vector<T> v[R];
                        read<R>(in + at, v);
#pragma GCC unroll 2
                        for (int j = 0; j < R; j++) {
                            Vector<T> d = v[j] - centre;
                            found[j] = {d * d, d};
                        }
                    });
                    variances[c] = T((second.one - second.other * second.other / count) / count);  // the rounding of the mean taken out
                }
                const Affine<T> normal(means[c], variances[c], epsilon, weight, bias, c);
                for (int64_t panel = 0; panel * p.lanes < batch; panel++) {
                    int64_t base = panel * p.panel() + c * p.plane();
                    clear_halo(out + base, p);
                    each_vector<S>(p, p.lanes, [&](int64_t at, const auto&, int) INLINE_LAMBDA {
                        Vector<T> v[R], more[R];
                        read<R>(in + base + at, v);
                        if (extra) read<R>(extra + base + at, more);
#pragma GCC unroll 2
                        for (int j = 0; j < R; j++) {
                            v[j] = normal(v[j]);
                            if (extra) v[j] += more[j];
                            if (relu) v[j] = positive_part<T>(v[j]);
                        }
                        write<R>(out + base + at, v);
                    });
                }
            });
        });
    });
}

// Gradients of the above: x, weight, bias, and (optional) of the residual. Where the forward pass ended in ReLU, `output` is
// what it returned, or `relu` says so if it added no residual: what ReLU saw is then computed again, as there, which is
// quicker than reading it. `constant` says that mean and variance were given there.
API int wirings_norm_gradients(int64_t stored, const void* x, const void* grad, const void* output, const void* weight, const void* bias,
                               const void* mean, const void* variance, int64_t relu, int64_t constant, double epsilon, void* gx,
                               void* gresidual, void* gw, void* gb, int64_t batch, int64_t channels, int64_t height, int64_t width,
                               int64_t halo, int64_t threads) {
    return with_stored(stored, [&](auto s) {
        using S = decltype(s);
        using T = Wide<S>;
        constexpr int R = TOGETHER<S>;
        const Planes p{channels, height, width, halo, LANES_OF<S>};
        const S *in = static_cast<const S*>(x), *back = static_cast<const S*>(grad), *ended = static_cast<const S*>(output);
        S *out = static_cast<S*>(gx), *other = static_cast<S*>(gresidual);
        std::atomic<int64_t> next{0};
        team(threads, [&](int, int) {
            deal(next, channels, [&](int64_t c) {
                const T inverse = T(1.0 / std::sqrt(double(static_cast<const T*>(variance)[c]) + epsilon));
                const Vector<T> centre = splat(static_cast<const T*>(mean)[c]), narrow = splat(inverse);
                const Affine<T> normal(static_cast<const T*>(mean)[c], static_cast<const T*>(variance)[c], epsilon, weight, bias, c);
                // The gradient that came through ReLU, where there was one, and the normalised input.
                auto seen = [&](int64_t at, Vector<T>* g, Vector<T>* v) INLINE_LAMBDA {
                    Vector<T> after[R];
                    read<R>(back + at, g);
                    read<R>(in + at, v);
                    if (ended) read<R>(ended + at, after);
#pragma GCC unroll 2
                    for (int j = 0; j < R; j++) {
                        if (relu) {
                            g[j] = normal(v[j]) > 0 ? g[j] : zero<T>();
                        } else if (ended) {
                            g[j] = after[j] > 0 ? g[j] : zero<T>();
                        }
                        v[j] = (v[j] - centre) * narrow;
                    }
                };
                // The residual's gradient is the masked one; it is written on the way, and read again while it is near.
                for (int64_t panel = 0; other && panel * p.lanes < batch; panel++) clear_halo(other + panel * p.panel() + c * p.plane(), p);
                Sums s = sum_channel<S>(p, batch, c, [&](int64_t at, const auto& sample, Two<T>* found) INLINE_LAMBDA {
                    Vector<T> g[R], v[R];
                    seen(at, g, v);
#pragma GCC unroll 2
                    for (int j = 0; j < R; j++) {
                        found[j] = {g[j], g[j] * v[j]};
                        g[j] = sample.lane[j] ? g[j] : zero<T>();
                    }
                    if (other) write<R>(other + at, g);
                });
                static_cast<T*>(gb)[c] = T(s.one);
                static_cast<T*>(gw)[c] = T(s.other);
                const double count = double(batch) * double(height * width);
                const Vector<T> scale = splat((weight ? static_cast<const T*>(weight)[c] : T(1)) * inverse);
                const Vector<T> average = splat(constant ? T(0) : T(s.one / count)), along = splat(constant ? T(0) : T(s.other / count));
                for (int64_t panel = 0; panel * p.lanes < batch; panel++) {
                    int64_t base = panel * p.panel() + c * p.plane();
                    clear_halo(out + base, p);
                    each_vector<S>(p, batch - panel * p.lanes, [&](int64_t at, const auto& sample, int) INLINE_LAMBDA {
                        Vector<T> g[R], v[R];
                        if (other) {
                            read<R>(other + base + at, g);
                            read<R>(in + base + at, v);
#pragma GCC unroll 2
                            for (int j = 0; j < R; j++) v[j] = (v[j] - centre) * narrow;
                        } else {
                            seen(base + at, g, v);
                        }
#pragma GCC unroll 2
                        for (int j = 0; j < R; j++) {
                            g[j] = scale * (g[j] - average - v[j] * along);
                            g[j] = sample.lane[j] ? g[j] : zero<T>();
                        }
                        write<R>(out + base + at, g);
                    });
                }
            });
        });
    });
}
