// The gradient of a kernel 3×3. Included once for each instruction set, as vectors.h, after winograd-tiles.h.
//
// Of y = Aᵀ[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]A the gradient by g is Gᵀ[Σ (Bᵀ·d·B) ⊙ (A·ȳ·Aᵀ)]G, summed over all tiles, ȳ the gradient of y: at each
// place a matrix product results × tiles by tiles × channels.

namespace {
namespace SPO_ISA {

namespace winograd {

constexpr int64_t kResultsAtATime = 48;  // their sums stay in a core's cache; whole registers of 12 and 6, whole vectors
constexpr int64_t kTilesAtATime = 48;    // summed before they are added to the sums of others

/** A · kResults vectors, `step` apart → kSide, `apart` from each other. */
template <int kSide>
SPO_TARGET void spread_results(const Vector* y, int step, Vector* to, int apart) {
  if constexpr (kSide == 6) {
    const Vector inner = y[0] + kInner2 * y[2 * step], inner_odd = kInner * (y[step] + kInner2 * y[3 * step]);
    const Vector outer = y[0] + kOuter2 * y[2 * step], outer_odd = kOuter * (y[step] + kOuter2 * y[3 * step]);
    to[0] = y[0];
    to[apart] = inner + inner_odd;
    to[2 * apart] = inner - inner_odd;
    to[3 * apart] = outer + outer_odd;
    to[4 * apart] = outer - outer_odd;
    to[5 * apart] = y[3 * step];
    return;
  }
  to[0] = y[0];
  to[apart] = y[0] + y[step];
  to[2 * apart] = y[0] - y[step];
  to[3 * apart] = -y[step];
}

/** Gᵀ · kSide vectors, `step` apart → 3, `apart` from each other. */
template <int kSide>
SPO_TARGET void gather_weights(const Vector* m, int step, Vector* to, int apart) {
  if constexpr (kSide == 6) {
    const Vector inner = kOfInner * (m[step] + m[2 * step]), inner_odd = kOfInner * (m[step] - m[2 * step]);
    const Vector outer = kOfOuter * (m[3 * step] + m[4 * step]), outer_odd = kOfOuter * (m[3 * step] - m[4 * step]);
    to[0] = 1 / (kInner2 * kOuter2) * m[0] + inner + outer;
    to[apart] = kInner * inner_odd + kOuter * outer_odd;
    to[2 * apart] = kInner2 * inner + kOuter2 * outer + m[5 * step];
    return;
  }
  const Vector even = 0.5f * (m[step] + m[2 * step]);
  to[0] = m[0] + even;
  to[apart] = 0.5f * (m[step] - m[2 * step]);
  to[2 * apart] = even + m[3 * step];
}

/** A·ȳ·Aᵀ of one tile and `count` results from `first` on, 0 beyond the map → to, of which places are `apart`. */
template <int kSide>
SPO_TARGET void read_results(const WinogradGradient& given, const Tile& tile, int64_t first, int64_t count, float* to, int64_t apart) {
  constexpr int kAcross = kResults<kSide>;
  const float* corner = given.of_y + ((tile.sample * given.height + tile.y) * given.width + tile.x) * given.results + first;
  const int64_t down = given.height - tile.y, across = given.width - tile.x;
  for (int64_t result = 0; result < count; result += kLanes) {
    Vector y[kAcross * kAcross], half[kSide * kAcross], all[kSide * kSide];
#pragma GCC unroll 16
    for (int i = 0; i < kAcross * kAcross; i++) {
      const bool inside = i / kAcross < down && i % kAcross < across;
      y[i] = inside ? load<kLanes>(corner + (i / kAcross * given.width + i % kAcross) * given.results + result) : Vector{};
    }
#pragma GCC unroll 4
    for (int x = 0; x < kAcross; x++) spread_results<kSide>(y + x, kAcross, half + x, kAcross);
#pragma GCC unroll 6
    for (int row = 0; row < kSide; row++) spread_results<kSide>(half + kAcross * row, 1, all + kSide * row, 1);
#pragma GCC unroll 36
    for (int i = 0; i < kSide * kSide; i++) store<kLanes>(to + i * apart + result, all[i]);
  }
}

/** results [tiles, kResultsAtATime]ᵀ · pixels [tiles, channels], kRows results and N vectors of channels, is added to sums. */
template <int N>
SPO_TARGET void add_products(const float* results, const float* pixels, int64_t tiles, int64_t channels, float* to) {
  Vector sums[kRows][N] = {};
  for (int64_t tile = 0; tile < tiles; tile++) {
    Vector pixel[N];
#pragma GCC unroll 2
    for (int i = 0; i < N; i++) pixel[i] = load<kLanes>(pixels + tile * channels + i * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; r++) {
#pragma GCC unroll 2
      for (int i = 0; i < N; i++) sums[r][i] += results[tile * kResultsAtATime + r] * pixel[i];
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; r++) {
#pragma GCC unroll 2
    for (int i = 0; i < N; i++) {
      float* at = to + r * channels + i * kLanes;
      store<kLanes>(at, load<kLanes>(at) + sums[r][i]);
    }
  }
}

/** Gᵀ·m·G of `count` results from `first` on. sums [places, kResultsAtATime, channels], places `apart` */
template <int kSide>
SPO_TARGET void write_kernels(const WinogradGradient& given, int64_t first, int64_t count, const float* sums, int64_t apart) {
  for (int64_t result = 0; result < count; result++) {
    for (int64_t channel = 0; channel < given.channels; channel += kLanes) {
      Vector m[kSide * kSide], half[3 * kSide], g[9];
#pragma GCC unroll 36
      for (int i = 0; i < kSide * kSide; i++) m[i] = load<kLanes>(sums + i * apart + result * given.channels + channel);
#pragma GCC unroll 6
      for (int x = 0; x < kSide; x++) gather_weights<kSide>(m + x, kSide, half + x, kSide);
#pragma GCC unroll 3
      for (int y = 0; y < 3; y++) gather_weights<kSide>(half + kSide * y, 1, g + 3 * y, 1);
#pragma GCC unroll 9
      for (int i = 0; i < 9; i++) store<kLanes>(given.of_kernel + ((first + result) * 9 + i) * given.channels + channel, g[i]);
    }
  }
}

template <int kSide>
SPO_ENTRY void gradient(const WinogradGradient& given, int64_t first, int64_t count, float* memory) {
  constexpr int64_t kPlaces = kSide * kSide, kSide2 = kResults<kSide>;
  const int64_t channels = given.channels, rows = padded(count);
  const int64_t apart = kTilesAtATime * channels + kApart, apart_of_results = kTilesAtATime * kResultsAtATime + kApart;
  const int64_t apart_of_sums = kResultsAtATime * channels + kApart;
  float* pixels = memory;
  float* results = pixels + kPlaces * apart;
  float* sums = results + kPlaces * apart_of_results;
  float* outside = sums + kPlaces * apart_of_sums;
  __builtin_memset(results, 0, sizeof(float) * kPlaces * apart_of_results);  // of results beyond `count`
  __builtin_memset(sums, 0, sizeof(float) * kPlaces * apart_of_sums);
  __builtin_memset(outside, 0, sizeof(float) * channels);
  const WinogradMaps maps{given.x, given.height, given.width, channels};
  const int64_t tiles = given.samples * ((given.height + kSide2 - 1) / kSide2) * ((given.width + kSide2 - 1) / kSide2);
  Tile tile = {};
  for (int64_t done = 0; done < tiles; done += kTilesAtATime) {
    const int64_t now = tiles - done < kTilesAtATime ? tiles - done : kTilesAtATime;
    for (int64_t i = 0; i < now; i++, step<kSide>(maps, tile)) {
      read_tile<kSide>(maps, tile, outside, pixels + i * channels, apart);
      read_results<kSide>(given, tile, first, count, results + i * kResultsAtATime, apart_of_results);
    }
    for (int64_t place = 0; place < kPlaces; place++) {
      for (int64_t row = 0; row < rows; row += kRows) {
        const float* of_results = results + place * apart_of_results + row;
        for (int64_t channel = 0; channel < channels;) {
          const int vectors = channels - channel > kLanes ? 2 : 1;
          const float* of_pixels = pixels + place * apart + channel;
          float* to = sums + place * apart_of_sums + row * channels + channel;
          if (vectors == 2) add_products<2>(of_results, of_pixels, now, channels, to);
          else add_products<1>(of_results, of_pixels, now, channels, to);
          channel += vectors * kLanes;
        }
      }
    }
  }
  write_kernels<kSide>(given, first, count, sums, apart_of_sums);
}

template <int kSide>
constexpr int64_t memory_of_gradient(int64_t channels) {
  return kSide * kSide * (kTilesAtATime * (channels + kResultsAtATime) + kResultsAtATime * channels + 3 * kApart) + channels;
}

}  // namespace winograd

template <int kSide>
constexpr WinogradGradientKernels winograd_gradient_kernels{winograd::kResultsAtATime, winograd::memory_of_gradient<kSide>,
                                                            winograd::gradient<kSide>};

}  // namespace SPO_ISA
}  // namespace
