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

}  // namespace
}  // namespace wirings

using namespace wirings;

// (batch, channels, height, width), contiguous or channels-last, to planes; missing samples and the halo are zero.
API int wirings_to_planes(int64_t stored, const void* x, void* planes, int64_t batch, int64_t channels, int64_t height, int64_t width,
                          int64_t halo, int64_t channels_last, int64_t threads) {
    return with_stored(stored, [&](auto s) {
        using S = decltype(s);
        constexpr int64_t L = LANES_OF<S>;
        const Planes p{channels, height, width, halo, L};
        const Pixels pixels(p);
        const int64_t sample = channels * height * width, panels = (batch + L - 1) / L;
        const S* from = static_cast<const S*>(x);
        S* to = static_cast<S*>(planes);
        team(threads, [&](int member, int size) {
            Range mine = part(panels * channels, member, size);
            for (int64_t job = mine.first; job < mine.last; job++) {
                S* plane = to + job * p.plane();
                clear_halo(plane, p);
                if (channels_last) continue;
                int64_t panel = job / channels, channel = job % channels;
                const S* source = from + panel * L * sample + channel * height * width;
                strips_in(source, sample, height * width, batch - panel * L, plane, pixels.place());
            }
            if (!channels_last) return;
            mine = part(panels * height, member, size);
            for (int64_t job = mine.first; job < mine.last; job++) {
                int64_t panel = job / height, y = job % height;
                for (int64_t x0 = 0; x0 < width; x0++) {
                    strips_in(from + panel * L * sample + (y * width + x0) * channels, sample, channels, batch - panel * L,
                              to + panel * p.panel() + p.at(y, x0), every(p.plane()));
                }
            }
        });
    });
}

// The way back.
API int wirings_from_planes(int64_t stored, const void* planes, void* x, int64_t batch, int64_t channels, int64_t height, int64_t width,
                            int64_t halo, int64_t channels_last, int64_t threads) {
    return with_stored(stored, [&](auto s) {
        using S = decltype(s);
        constexpr int64_t L = LANES_OF<S>;
        const Planes p{channels, height, width, halo, L};
        const Pixels pixels(p);
        const int64_t sample = channels * height * width, panels = (batch + L - 1) / L;
        const S* from = static_cast<const S*>(planes);
        S* to = static_cast<S*>(x);
        team(threads, [&](int member, int size) {
            Range mine = part(channels_last ? panels * height : panels * channels, member, size);
            for (int64_t job = mine.first; job < mine.last; job++) {
                if (channels_last) {
                    int64_t panel = job / height, y = job % height;
                    for (int64_t x0 = 0; x0 < width; x0++) {
                        strips_out(from + panel * p.panel() + p.at(y, x0), every(p.plane()), channels, batch - panel * L,
                                   to + panel * L * sample + (y * width + x0) * channels, sample);
                    }
                } else {
                    int64_t panel = job / channels, channel = job % channels;
                    strips_out(from + job * p.plane(), pixels.place(), height * width, batch - panel * L,
                               to + panel * L * sample + channel * height * width, sample);
                }
            }
        });
    });
}
