// GroupNorm over some pixels of one image, channels last. Included once for each instruction set, as vectors.h.
//
// A vector holds neighbouring channels. The last one of a row reaches back over channels that the one before has had, and computes the same
// for them again: so no row needs a rest of other width. A block of pixels is done vector by vector, so that a channel's numbers are read
// once a block, and the block's memory still comes nearly in order.

namespace {
namespace SPO_ISA {

template <int W>
SPO_TARGET void add_doubles(void* to, Floats<W> lanes) {
  typename Lanes<W>::Doubles sum;
  __builtin_memcpy(&sum, to, sizeof sum);
  sum += __builtin_convertvector(lanes, typename Lanes<W>::Doubles);
  __builtin_memcpy(to, &sum, sizeof sum);
}

/** Two sums a channel of what `terms` makes of each pixel, float32 inside a block and float64 beyond. Both start at 0. */
template <int W, class Terms>
SPO_TARGET void sum_rows(const Terms& terms, int64_t channels, int64_t rows, double* first, double* second) {
  typename Lanes<W>::Doubles last[2] = {};  // places of its own, for it may overlap the one before
  for (int64_t block = 0; block < rows; block += kBlockRows) {
    const int64_t end = block + kBlockRows < rows ? block + kBlockRows : rows;
    for (int64_t channel = 0; channel < channels; channel += W) {
      const bool ends = channel + W >= channels;
      const int64_t from = ends ? channels - W : channel;
      const auto numbers = terms.template numbers<W>(from);
      Floats<W> a = {}, b = {};
      for (int64_t row = block; row < end; row++) terms.template add<W>(row * channels + from, numbers, a, b);
      add_doubles<W>(ends ? static_cast<void*>(&last[0]) : first + from, a);
      add_doubles<W>(ends ? static_cast<void*>(&last[1]) : second + from, b);
    }
  }
  __builtin_memcpy(first + channels - W, &last[0], sizeof last[0]);
  __builtin_memcpy(second + channels - W, &last[1], sizeof last[1]);
}

/** Writes what `pixel` makes of each pixel. kRows: in a block. */
template <int W, int64_t kRows, class Pixel>
SPO_TARGET void each_pixel(const Pixel& pixel, int64_t channels, int64_t rows) {
  for (int64_t block = 0; block < rows; block += kRows) {
    const int64_t end = block + kRows < rows ? block + kRows : rows;
    for (int64_t channel = 0; channel < channels; channel += W) {
      const int64_t from = channel + W <= channels ? channel : channels - W;
      const auto numbers = pixel.template numbers<W>(from);
      for (int64_t row = block; row < end; row++) pixel.template write<W>(row * channels + from, numbers);
    }
  }
}

/** x less a number of its channel, and the square of that. */
template <class Number>
struct Moments {
  const Number* x;
  const float* shift;

  template <int W>
  SPO_TARGET Floats<W> numbers(int64_t channel) const {
    return load<W>(shift + channel);
  }
  template <int W>
  SPO_TARGET void add(int64_t at, Floats<W> by, Floats<W>& sum, Floats<W>& squares) const {
    const Floats<W> d = load<W>(x + at) - by;
    sum += d;
    squares += d * d;
  }
};

/** The numbers of W channels. */
template <int W>
struct Scales {
  Floats<W> mean, scale, bias;
};

template <int W>
SPO_TARGET Scales<W> scales_at(const GroupNormChannels& of, int64_t channel) {
  return {load<W>(of.mean + channel), load<W>(of.scale + channel), load<W>(of.bias + channel)};
}

/** Gradient of z, what goes into SiLU, or comes out where there is none. away: x − mean. */
template <int W, bool kSilu>
SPO_TARGET Floats<W> gradient_of_z(Floats<W> gradient, Floats<W> away, const Scales<W>& scales) {
  if constexpr (!kSilu) return gradient;
  const Floats<W> z = away * scales.scale + scales.bias;
  const Floats<W> s = sigmoid<W>(z);
  return gradient * (s + z * (s - s * s));
}

/** The gradient of z, and its product with x − mean. */
template <bool kSilu, class Number>
struct GradientTerms {
  const Number* x;
  const Number* gradient;
  const GroupNormChannels& of;

  template <int W>
  SPO_TARGET Scales<W> numbers(int64_t channel) const {
    return scales_at<W>(of, channel);
  }
  template <int W>
  SPO_TARGET void add(int64_t at, const Scales<W>& scales, Floats<W>& sum, Floats<W>& products) const {
    const Floats<W> away = load<W>(x + at) - scales.mean;
    const Floats<W> dz = gradient_of_z<W, kSilu>(load<W>(gradient + at), away, scales);
    sum += dz;
    products += dz * away;
  }
};

template <bool kSilu, class Number>
struct Normalise {
  const Number* x;
  const GroupNormChannels& of;
  Number* y;

  template <int W>
  SPO_TARGET Scales<W> numbers(int64_t channel) const {
    return scales_at<W>(of, channel);
  }
  template <int W>
  SPO_TARGET void write(int64_t at, const Scales<W>& scales) const {
    Floats<W> z = (load<W>(x + at) - scales.mean) * scales.scale + scales.bias;
    if constexpr (kSilu) z *= sigmoid<W>(z);
    store<W>(y + at, z);
  }
};

template <bool kSilu, class Number>
struct Differentiate {
  const Number* x;
  const Number* gradient;
  const GroupNormChannels& of;
  Number* dx;

  template <int W>
  struct Numbers {
    Scales<W> scales;
    Floats<W> constant, slope;
  };
  template <int W>
  SPO_TARGET Numbers<W> numbers(int64_t channel) const {
    return {scales_at<W>(of, channel), load<W>(of.constant + channel), load<W>(of.slope + channel)};
  }
  template <int W>
  SPO_TARGET void write(int64_t at, const Numbers<W>& numbers) const {
    const Floats<W> away = load<W>(x + at) - numbers.scales.mean;
    const Floats<W> dz = gradient_of_z<W, kSilu>(load<W>(gradient + at), away, numbers.scales);
    store<W>(dx + at, dz * numbers.scales.scale - (away * numbers.slope + numbers.constant));
  }
};

template <bool kSilu, class Number>
struct GroupNormRows {
  // Without SiLU memory is the limit, and its own order is the fastest.
  static constexpr int64_t kRows = kSilu ? 8 : 1;

  template <int W>
  SPO_ENTRY static void moments_by(const GroupNormPixels<Number>& p, const GroupNormChannels& of, double* sum, double* squares) {
    sum_rows<W>(Moments<Number>{p.x, of.mean}, p.channels, p.rows, sum, squares);
  }
  template <int W>
  SPO_ENTRY static void normalise_by(const GroupNormPixels<Number>& p, const GroupNormChannels& of) {
    each_pixel<W, kRows>(Normalise<kSilu, Number>{p.x, of, p.result}, p.channels, p.rows);
  }
  template <int W>
  SPO_ENTRY static void gradient_sums_by(const GroupNormPixels<Number>& p, const GroupNormChannels& of, double* sum, double* products) {
    const GradientTerms<kSilu, Number> terms{p.x, p.gradient, of};
    sum_rows<W>(terms, p.channels, p.rows, sum, products);
  }
  template <int W>
  SPO_ENTRY static void differentiate_by(const GroupNormPixels<Number>& p, const GroupNormChannels& of) {
    const Differentiate<kSilu, Number> pixel{p.x, p.gradient, of, p.result};
    each_pixel<W, kRows>(pixel, p.channels, p.rows);
  }

  template <int W>
  static constexpr GroupNormKernels<Number> kernels{moments_by<W>, normalise_by<W>, gradient_sums_by<W>, differentiate_by<W>};
};

/** With the widest vectors that so many channels fill. */
template <bool kSilu, class Number>
const GroupNormKernels<Number>& group_norm_kernels(int64_t channels) {
  using Rows = GroupNormRows<kSilu, Number>;
  if constexpr (SPO_LANES >= 16) {
    if (channels >= 16) return Rows::template kernels<16>;
  }
  if constexpr (SPO_LANES >= 8) {
    if (channels >= 8) return Rows::template kernels<8>;
  }
  return Rows::template kernels<4>;
}

}  // namespace SPO_ISA
}  // namespace
