// A sparse convolution of a few images, too few to lie side by side: here pixels do. An image is copied with its zeros around
// it, row after row without a gap; so a connection's input lies at one shift for all pixels, whole vectors of them, and what
// falls between the rows is left out in the end. For stride 2 the four parities of rows and columns are images of their own.
#include <algorithm>

#include "common.h"
#include "geometry.h"
#include "vector.h"

namespace wirings {
namespace {

// An image as it is copied.
struct Flat {
    int64_t stride, row, plane, channel, image;

    explicit Flat(const Geometry& g)
        : stride(g.stride),
          row((g.width + 2 * g.padding + stride - 1) / stride),
          plane((g.height + 2 * g.padding + stride - 1) / stride * row),
          channel(stride * stride * plane),
          image(g.in_channels * channel) {}

    // Of the pixel (y, x), counted from the first zero.
    int64_t at(int64_t y, int64_t x) const { return (y % stride * stride + x % stride) * plane + y / stride * row + x / stride; }
};

// Where pixels lie in a plain tensor.
struct Plain {
    int64_t image, channel, row, pixel;

    Plain(int64_t channels, int64_t height, int64_t width, bool last)
        : image(channels * height * width), channel(last ? 1 : height * width), row(last ? width * channels : width), pixel(last ? channels : 1) {}
};

constexpr int MOST_VECTORS = WIRINGS_VECTOR_BYTES == 64 ? 16 : 8;

// N vectors of pixels of a channel, over connections k ... end - 1; those that are few take turns in C chains of sums.
template <int N, int C, class T>
INLINE void flat_tile(const int32_t* shift, const T* value, int64_t k, int64_t end, const T* in, T bias, T* out) {
    Vector<T> sum[C][N];
#pragma GCC unroll 8
    for (int c = 0; c < C; c++) {
#pragma GCC unroll 16
        for (int j = 0; j < N; j++) sum[c][j] = c == 0 ? splat(bias) : zero<T>();
    }
    auto add = [&](int c, int64_t i) INLINE_LAMBDA {
        const T* p = in + shift[i];
        const Vector<T> w = splat(value[i]);
#pragma GCC unroll 16
        for (int j = 0; j < N; j++) sum[c][j] += w * load(p + j * VL<T>);
    };
    for (; k + C <= end; k += C) {
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) add(c, k + c);
    }
    for (; k < end; k++) add(0, k);
#pragma GCC unroll 16
    for (int j = 0; j < N; j++) {
        Vector<T> all = sum[0][j];
#pragma GCC unroll 8
        for (int c = 1; c < C; c++) all += sum[c][j];
        store(out + j * VL<T>, all);
    }
}

// `count` pixels of a channel, rounded up to whole vectors.
template <class T>
void flat_channel(const int32_t* shift, const T* value, int64_t k, int64_t end, const T* in, T bias, T* out, int64_t count) {
    int64_t left = (count + VL<T> - 1) / VL<T>;
    auto step = [&](auto vectors, auto chains) {
        constexpr int N = vectors(), C = chains();
        if constexpr (N <= MOST_VECTORS) {
            for (; left >= N; left -= N, in += N * VL<T>, out += N * VL<T>) flat_tile<N, C>(shift, value, k, end, in, bias, out);
        }
    };
    step(std::integral_constant<int, 16>{}, std::integral_constant<int, 1>{});
    step(std::integral_constant<int, 8>{}, std::integral_constant<int, 1>{});
    step(std::integral_constant<int, 4>{}, std::integral_constant<int, 2>{});
    step(std::integral_constant<int, 2>{}, std::integral_constant<int, 4>{});
    step(std::integral_constant<int, 1>{}, std::integral_constant<int, 4>{});
}

}  // namespace
}  // namespace wirings

using namespace wirings;

// (batch, channels, height, width) in and out, both contiguous or both channels-last, with bias and ReLU. Of the geometry,
// halos and panels do not count.
API int wirings_conv_few(int64_t real, int64_t narrow, const int64_t* geometry, const int64_t* pointer, const void* column, const void* value,
                         const void* bias, int64_t relu, const void* x, void* y, int64_t batch, int64_t channels_last, int64_t threads) {
    return with_types(real, narrow, [&](auto t, auto c) {
        using T = decltype(t);
        using C = decltype(c);
        const Geometry& g = *reinterpret_cast<const Geometry*>(geometry);
        const Flat flat(g);
        const Plain from(g.in_channels, g.height, g.width, channels_last != 0), to(g.out_channels, g.out_height, g.out_width, channels_last != 0);
        const int64_t columns = g.group_in() * g.taps(), nnz = pointer[g.out_channels], rest = VL<T>;
        const int64_t count = (g.out_height - 1) * flat.row + g.out_width, room = (count + VL<T> - 1) / VL<T> * VL<T>;
        Scratch<T> images(batch * flat.image + rest), made(threads * room);
        Scratch<int32_t> every(columns), shift(nnz);
        for (int64_t k = 0; k < columns; k++) {
            const int64_t tap = k % g.taps();
            every[k] = static_cast<int32_t>(k / g.taps() * flat.channel + flat.at(tap / g.kernel_width, tap % g.kernel_width));
        }
        std::fill_n(images + batch * flat.image, rest, T(0));  // the last vectors read so far
        team(threads, [&](int member, int size) {
            Range mine = part(batch * g.in_channels, member, size);
            for (int64_t job = mine.first; job < mine.last; job++) {
                const T* i = static_cast<const T*>(x) + job / g.in_channels * from.image + job % g.in_channels * from.channel;
                T* o = images + job * flat.channel;
                std::fill_n(o, flat.channel, T(0));
                for (int64_t v = 0; v < g.height; v++) {
                    for (int64_t h = 0; h < std::min(g.stride, g.width); h++) {
                        T* line = o + flat.at(v + g.padding, h + g.padding);
                        for (int64_t j = h; j < g.width; j += g.stride) *line++ = i[v * from.row + j * from.pixel];
                    }
                }
            }
            mine = rows_of(pointer, g.out_channels, member, size);
            for (int64_t r = mine.first; r < mine.last; r++) {
                const int32_t group = static_cast<int32_t>(r / g.group_out() * g.group_in() * flat.channel);
                for (int64_t k = pointer[r]; k < pointer[r + 1]; k++) shift[k] = group + every[static_cast<const C*>(column)[k]];
            }
            meet();
            T* own = made + member * room;
            for (int64_t r = mine.first; r < mine.last; r++) {
                for (int64_t b = 0; b < batch; b++) {
                    flat_channel<T>(shift, static_cast<const T*>(value), pointer[r], pointer[r + 1], images + b * flat.image,
                                    bias ? static_cast<const T*>(bias)[r] : T(0), own, count);
                    T* o = static_cast<T*>(y) + b * to.image + r * to.channel;
                    for (int64_t v = 0; v < g.out_height; v++) {
                        for (int64_t h = 0; h < g.out_width; h++) {
                            const T sum = own[v * flat.row + h];
                            o[v * to.row + h * to.pixel] = relu && sum < 0 ? T(0) : sum;
                        }
                    }
                }
            }
        });
    });
}
