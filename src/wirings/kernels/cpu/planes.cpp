// Images to planes and back.
#include <algorithm>

#include "common.h"
#include "planes.h"
#include "strips.h"

namespace wirings {
namespace {

// A strip, or two where as many samples lie side by side; `samples` may be more than there are lanes.
template <class S, class F>
void strips_in(const S* source, int64_t source_step, int64_t items, int64_t samples, S* target, F&& place) {
    for (int64_t lane = 0; lane < LANES_OF<S>; lane += LANES) {
        const int64_t have = std::clamp<int64_t>(samples - lane, 0, LANES);
        strip_in(source + (have > 0 ? lane * source_step : 0), source_step, items, have, target + lane, place);
    }
}
template <class S, class F>
void strips_out(const S* source, F&& place, int64_t items, int64_t samples, S* target, int64_t target_step) {
    for (int64_t lane = 0; lane < std::min<int64_t>(samples, LANES_OF<S>); lane += LANES) {
        strip_out(source + lane, place, items, std::min<int64_t>(LANES, samples - lane), target + lane * target_step, target_step);
    }
}

// Where the pixels of an image lie in their plane: a strip goes on from row to row, or narrow images would have none.
struct Pixels {
    Scratch<int64_t> at;

    explicit Pixels(const Planes& p) : at(p.height * p.width) {
        for (int64_t i = 0; i < p.height * p.width; i++) at[i] = p.at(i / p.width, i % p.width);
    }
    auto place() const {
        return [table = static_cast<const int64_t*>(at)](int64_t i) { return table[i]; };
    }
};

// Calls strip(place in the tensor, place in the planes, items, samples left, where items lie in the planes) for every strip
// of the images: pixels of a channel, or channels of a pixel where these lie together.
template <class F>
void each_strip(const Planes& p, int64_t batch, bool channels_last, int64_t threads, F&& strip) {
    const Pixels pixels(p);
    const int64_t image = p.height * p.width, sample = p.channels * image, panels = (batch + p.lanes - 1) / p.lanes;
    team(threads, [&](int member, int size) {
        const int64_t each = channels_last ? image : p.channels;
        Range mine = part(panels * each, member, size);
        for (int64_t job = mine.first; job < mine.last; job++) {
            const int64_t panel = job / each, i = job % each, first = panel * p.lanes * sample, left = batch - panel * p.lanes;
            if (channels_last) {
                strip(first + i * p.channels, panel * p.panel() + pixels.at[i], p.channels, left, every(p.plane()));
            } else {
                strip(first + i * image, job * p.plane(), image, left, pixels.place());
            }
        }
    });
}

}  // namespace
}  // namespace wirings

using namespace wirings;

// (batch, channels, height, width), contiguous or channels-last, to planes; missing samples and the halo are zero.
API int wirings_to_planes(int64_t stored, const void* x, void* planes, int64_t batch, int64_t channels, int64_t height, int64_t width,
                          int64_t halo, int64_t channels_last, int64_t threads) {
    return with_stored(stored, [&](auto t) {
        using S = decltype(t);
        const Planes p{channels, height, width, halo, LANES_OF<S>};
        const S* from = static_cast<const S*>(x);
        S* to = static_cast<S*>(planes);
        team(threads, [&](int member, int size) {
            Range mine = part((batch + p.lanes - 1) / p.lanes * channels, member, size);
            for (int64_t job = mine.first; job < mine.last; job++) clear_halo(to + job * p.plane(), p);
        });
        each_strip(p, batch, channels_last != 0, threads, [&](int64_t plain, int64_t at, int64_t items, int64_t left, auto place) {
            strips_in(from + plain, channels * height * width, items, left, to + at, place);
        });
    });
}

// The way back.
API int wirings_from_planes(int64_t stored, const void* planes, void* x, int64_t batch, int64_t channels, int64_t height, int64_t width,
                            int64_t halo, int64_t channels_last, int64_t threads) {
    return with_stored(stored, [&](auto t) {
        using S = decltype(t);
        const Planes p{channels, height, width, halo, LANES_OF<S>};
        const S* from = static_cast<const S*>(planes);
        S* to = static_cast<S*>(x);
        each_strip(p, batch, channels_last != 0, threads, [&](int64_t plain, int64_t at, int64_t items, int64_t left, auto place) {
            strips_out(from + at, place, items, left, to + plain, channels * height * width);
        });
    });
}
