// Max pooling in planes. What lies beside the image is not seen; of equal numbers the first counts, as in torch.
#include <limits>

#include "common.h"
#include "planes.h"
#include "vector.h"

namespace wirings {
namespace {

// As packed by kernels/pool.py.
struct Window {
    int64_t height, width, stride_y, stride_x, padding_y, padding_x;
};

// The input pixels of an output pixel that lie in the image: rows first_y ... last_y - 1, and columns likewise.
struct Seen {
    int64_t first_y, last_y, first_x, last_x;

    Seen(const Window& w, const Planes& in, int64_t y, int64_t x) {
        const int64_t top = y * w.stride_y - w.padding_y, left = x * w.stride_x - w.padding_x;
        first_y = std::max<int64_t>(top, 0), last_y = std::min(top + w.height, in.height);
        first_x = std::max<int64_t>(left, 0), last_x = std::min(left + w.width, in.width);
    }

    // Calls work(offset in the plane) for each, row by row.
    template <class F>
    INLINE void each(const Planes& in, F&& work) const {
        for (int64_t y = first_y; y < last_y; y++) {
            for (int64_t x = first_x; x < last_x; x++) work(in.at(y, x));
        }
    }
};

// Calls work(panel and channel, window, offset of vectors in their input plane's pixel and output plane) for every output.
template <class S, class F>
void each_output(const Window& w, const Planes& in, const Planes& out, int64_t job, F&& work) {
    constexpr int64_t N = TOGETHER<S> * VL<Wide<S>>;
    for (int64_t y = 0; y < out.height; y++) {
        for (int64_t x = 0; x < out.width; x++) {
            const Seen seen(w, in, y, x);
            for (int64_t lane = 0; lane < in.lanes; lane += N) work(seen, job * in.plane() + lane, job * out.plane() + out.at(y, x) + lane);
        }
    }
}

// The largest of a window so far, a NaN being larger than anything; and whether this one is.
template <class T>
INLINE auto raised(Vector<T> v, Vector<T>& best) {
    const auto larger = (v > best) | (v != v);
    best = larger ? v : best;
    return larger;
}

// Calls work(a number of the type that is stored, window, input planes, output planes, number of the channel) for every channel
// of every panel. `size` holds panels, channels, the input's height, width and halo, and the output's.
template <class F>
int each_channel(int64_t stored, const int64_t* window, const int64_t (&size)[8], int64_t threads, F&& work) {
    return with_stored(stored, [&](auto t) {
        using S = decltype(t);
        const Planes in{size[1], size[2], size[3], size[4], LANES_OF<S>}, out{size[1], size[5], size[6], size[7], LANES_OF<S>};
        team(threads, [&](int member, int members) {
            Range mine = part(size[0] * size[1], member, members);
            for (int64_t job = mine.first; job < mine.last; job++) work(t, *reinterpret_cast<const Window*>(window), in, out, job);
        });
    });
}

}  // namespace
}  // namespace wirings

using namespace wirings;

API int wirings_pool_forward(int64_t stored, const int64_t* window, const void* x, void* y, int64_t panels, int64_t channels, int64_t height,
                             int64_t width, int64_t halo, int64_t out_height, int64_t out_width, int64_t out_halo, int64_t threads) {
    const int64_t size[] = {panels, channels, height, width, halo, out_height, out_width, out_halo};
    return each_channel(stored, window, size, threads, [&](auto t, const Window& w, const Planes& in, const Planes& out, int64_t job) {
        using S = decltype(t);
        using T = Wide<S>;
        constexpr int R = TOGETHER<S>;
        const S* from = static_cast<const S*>(x);
        S* to = static_cast<S*>(y);
        clear_halo(to + job * out.plane(), out);
        each_output<S>(w, in, out, job, [&](const Seen& seen, int64_t base, int64_t o) INLINE_LAMBDA {
            Vector<T> best[R];
#pragma GCC unroll 2
            for (int j = 0; j < R; j++) best[j] = splat(-std::numeric_limits<T>::infinity());
            seen.each(in, [&](int64_t at) INLINE_LAMBDA {
                Vector<T> v[R];
                read<R>(from + base + at, v);
#pragma GCC unroll 2
                for (int j = 0; j < R; j++) raised<T>(v[j], best[j]);
            });
            write<R>(to + o, best);
        });
    });
}

// The input's gradient: each output's goes where its number came from, which is found again.
API int wirings_pool_gradient(int64_t stored, const int64_t* window, const void* x, const void* grad, void* gx, int64_t panels,
                              int64_t channels, int64_t height, int64_t width, int64_t halo, int64_t out_height, int64_t out_width,
                              int64_t out_halo, int64_t threads) {
    const int64_t size[] = {panels, channels, height, width, halo, out_height, out_width, out_halo};
    return each_channel(stored, window, size, threads, [&](auto t, const Window& w, const Planes& in, const Planes& out, int64_t job) {
        using S = decltype(t);
        using T = Wide<S>;
        constexpr int R = TOGETHER<S>;
        const S *from = static_cast<const S*>(x), *back = static_cast<const S*>(grad);
        S* to = static_cast<S*>(gx);
        std::fill(to + job * in.plane(), to + (job + 1) * in.plane(), S(0));
        each_output<S>(w, in, out, job, [&](const Seen& seen, int64_t base, int64_t o) INLINE_LAMBDA {
            Vector<T> best[R], which[R], g[R];
            read<R>(back + o, g);
#pragma GCC unroll 2
            for (int j = 0; j < R; j++) best[j] = splat(-std::numeric_limits<T>::infinity()), which[j] = zero<T>();
            T number = 0;
            seen.each(in, [&](int64_t at) INLINE_LAMBDA {
                Vector<T> v[R];
                read<R>(from + base + at, v);
#pragma GCC unroll 2
                for (int j = 0; j < R; j++) which[j] = raised<T>(v[j], best[j]) ? splat(number) : which[j];
                number += 1;
            });
            number = 0;
            seen.each(in, [&](int64_t at) INLINE_LAMBDA {
                Vector<T> sum[R];
                read<R>(to + base + at, sum);
#pragma GCC unroll 2
                for (int j = 0; j < R; j++) sum[j] += which[j] == splat(number) ? g[j] : zero<T>();
                write<R>(to + base + at, sum);
                number += 1;
            });
        });
    });
}
