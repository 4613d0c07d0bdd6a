// Batch normalisation in planes, with the residual addition and the ReLU that follow it. One thread owns a channel, sums run
// lane by lane over a plane and on in double from plane to plane; padding lanes and the halo stay out of the statistics.
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

// Calls work(offset of a vector in its panel's plane, which of its lanes are samples, number of a chain) for every image
// vector of a channel. `samples` may be more than there are lanes.
template <class T, class F>
INLINE void each_vector(const Planes& p, int64_t samples, F&& work) {
    constexpr int N = VL<T>;
    Vector<T> lane;
    for (int l = 0; l < N; l++) lane[l] = T(l);
    auto walk = [&](auto&& real) INLINE_LAMBDA {
        for (int64_t y = 0; y < p.height; y++) {
            const int64_t at = p.at(y, 0), end = p.width * LANES;
            int64_t x = 0;
            for (; x + CHAINS * N <= end; x += CHAINS * N) {
#pragma GCC unroll 4
                for (int i = 0; i < CHAINS; i++) work(at + x + i * N, real(x + i * N), i);
            }
            for (; x < end; x += N) work(at + x, real(x), 0);
        }
    };
    if (samples >= LANES) {
        const auto all = zero<T>() == zero<T>();
        walk([&](int64_t) INLINE_LAMBDA { return all; });
    } else {
        walk([&](int64_t x) INLINE_LAMBDA {
            const int64_t left = samples - x % LANES;
            return lane < splat(T(left < N ? left : N));
        });
    }
}

struct Sums {
    double one = 0, other = 0;
};

// Adds up what work(offset, which lanes are samples) gives, over the samples of a channel in all panels.
template <class T, class F>
Sums sum_channel(const Planes& p, int64_t batch, int64_t channel, F&& work) {
    Sums sums;
    for (int64_t panel = 0; panel * LANES < batch; panel++) {
        Two<T> sum[CHAINS] = {};
        int64_t base = panel * p.panel() + channel * p.plane();
        each_vector<T>(p, batch - panel * LANES, [&](int64_t at, auto real, int chain) INLINE_LAMBDA {
            auto [a, b] = work(base + at, real);
            sum[chain].one += real ? a : zero<T>();
            sum[chain].other += real ? b : zero<T>();
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
// those of the batch and come out.
API int wirings_norm_forward(int64_t real, const void* x, const void* residual, const void* weight, const void* bias, void* mean,
                             void* variance, int64_t given, double epsilon, int64_t relu, void* y, int64_t batch, int64_t channels,
                             int64_t height, int64_t width, int64_t halo, int64_t threads) {
    return with_real(real, [&](auto t) {
        using T = decltype(t);
        const Planes p{channels, height, width, halo};
        const T *in = static_cast<const T*>(x), *extra = static_cast<const T*>(residual);
        T *out = static_cast<T*>(y), *means = static_cast<T*>(mean), *variances = static_cast<T*>(variance);
        std::atomic<int64_t> next{0};
        team(threads, [&](int, int) {
            deal(next, channels, [&](int64_t c) {
                if (!given) {
                    const double count = double(batch) * double(height * width);
                    means[c] = T(sum_channel<T>(p, batch, c, [&](int64_t at, auto) INLINE_LAMBDA { return Two<T>{load(in + at), zero<T>()}; }).one / count);
                    Vector<T> centre = splat(means[c]);
                    Sums s = sum_channel<T>(p, batch, c, [&](int64_t at, auto) INLINE_LAMBDA {
                        Vector<T> d = load(in + at) - centre;
                        return Two<T>{d * d, d};
                    });
                    variances[c] = T((s.one - s.other * s.other / count) / count);  // the rounding of the mean taken out
                }
                const Affine<T> normal(means[c], variances[c], epsilon, weight, bias, c);
                for (int64_t panel = 0; panel * LANES < batch; panel++) {
                    int64_t base = panel * p.panel() + c * p.plane();
                    clear_halo(out + base, p);
                    each_vector<T>(p, LANES, [&](int64_t at, auto, int) INLINE_LAMBDA {
                        Vector<T> v = normal(load(in + base + at));
                        if (extra) v += load(extra + base + at);
                        store(out + base + at, relu ? positive_part<T>(v) : v);
                    });
                }
            });
        });
    });
}

// Gradients of the above: x, weight, bias, and (optional) of the residual. Where the forward pass ended in ReLU, `output` is
// what it returned, or `relu` says so if it added no residual: what ReLU saw is then computed again, as there, which is
// quicker than reading it. `constant` says that mean and variance were given there.
API int wirings_norm_gradients(int64_t real, const void* x, const void* grad, const void* output, const void* weight, const void* bias,
                               const void* mean, const void* variance, int64_t relu, int64_t constant, double epsilon, void* gx,
                               void* gresidual, void* gw, void* gb, int64_t batch, int64_t channels, int64_t height, int64_t width,
                               int64_t halo, int64_t threads) {
    return with_real(real, [&](auto t) {
        using T = decltype(t);
        const Planes p{channels, height, width, halo};
        const T *in = static_cast<const T*>(x), *back = static_cast<const T*>(grad), *ended = static_cast<const T*>(output);
        T *out = static_cast<T*>(gx), *other = static_cast<T*>(gresidual);
        std::atomic<int64_t> next{0};
        team(threads, [&](int, int) {
            deal(next, channels, [&](int64_t c) {
                const T inverse = T(1.0 / std::sqrt(double(static_cast<const T*>(variance)[c]) + epsilon));
                const Vector<T> centre = splat(static_cast<const T*>(mean)[c]), narrow = splat(inverse);
                const Affine<T> normal(static_cast<const T*>(mean)[c], static_cast<const T*>(variance)[c], epsilon, weight, bias, c);
                auto masked = [&](int64_t at) INLINE_LAMBDA {
                    Vector<T> g = load(back + at);
                    if (relu) return normal(load(in + at)) > 0 ? g : zero<T>();
                    return ended ? (load(ended + at) > 0 ? g : zero<T>()) : g;
                };
                // The residual's gradient is the masked one; it is written on the way, and read again while it is near.
                for (int64_t panel = 0; other && panel * LANES < batch; panel++) clear_halo(other + panel * p.panel() + c * p.plane(), p);
                Sums s = sum_channel<T>(p, batch, c, [&](int64_t at, auto sample) INLINE_LAMBDA {
                    Vector<T> g = masked(at);
                    if (other) store(other + at, sample ? g : zero<T>());
                    return Two<T>{g, g * ((load(in + at) - centre) * narrow)};
                });
                static_cast<T*>(gb)[c] = T(s.one);
                static_cast<T*>(gw)[c] = T(s.other);
                const double count = double(batch) * double(height * width);
                const Vector<T> scale = splat((weight ? static_cast<const T*>(weight)[c] : T(1)) * inverse);
                const Vector<T> average = splat(constant ? T(0) : T(s.one / count)), along = splat(constant ? T(0) : T(s.other / count));
                for (int64_t panel = 0; panel * LANES < batch; panel++) {
                    int64_t base = panel * p.panel() + c * p.plane();
                    clear_halo(out + base, p);
                    each_vector<T>(p, batch - panel * LANES, [&](int64_t at, auto sample, int) INLINE_LAMBDA {
                        Vector<T> g = other ? load(other + base + at) : masked(base + at), v = (load(in + base + at) - centre) * narrow;
                        v = scale * (g - average - v * along);
                        store(out + base + at, sample ? v : zero<T>());
                    });
                }
            });
        });
    });
}
