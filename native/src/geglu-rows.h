// GEGLU over rows of numbers. Included once for each instruction set, as vectors.h.
//
// The last vector of a row reaches back over numbers that the one before has had, and computes the same for them again.

namespace {
namespace SPO_ISA {

/** Φ(z), the standard normal distribution, and its density. */
template <int W>
struct Normal {
  Floats<W> distribution, density;
};

/**
 * Error of Φ 2e-7 at most. 0 below -13, and no density beyond: with them GELU of -∞ is NaN, as libtorch's.
 *
 * Source: the form of Abramowitz & Stegun 7.1.26, with one term more, whose coefficients are fitted to Φ(-a) for a ≥ 0.
 */
template <int W>
SPO_TARGET Normal<W> normal(Floats<W> z) {
  using Bits = typename Lanes<W>::Bits;
  const Floats<W> size = (Floats<W>)((Bits)z & 0x7fffffffu);
  const Floats<W> a = size > 13.0f ? Floats<W>{} + 13.0f : size;  // NaN stays
  const Floats<W> bell = exponential<W>(a * a * -0.5f);
  const Floats<W> t = reciprocal<W>(1.0f + 0.285f * a);
  Floats<W> p = t * -0.09689371f + 0.33324725f;
  p = p * t - 0.15617991f;
  p = p * t + 0.21608158f;
  p = p * t + 0.08764842f;
  p = p * t + 0.11609635f;
  const Floats<W> tail = p * t * bell;
  const Floats<W> all = z < 0.0f ? tail : 1.0f - tail;
  return {unless<W>(z < -13.0f, all), unless<W>(size > 13.0f, bell * 0.398942280f)};
}

template <int W, class Number>
struct GegluOf {
  SPO_ENTRY static void forward(const GegluRows<Number>& of) {
    for (int64_t row = 0; row < of.rows; row++) {
      const Number* value = of.x + 2 * row * of.width;
      const Number* gate = value + of.width;
      Number* y = of.result + row * of.width;
      for (int64_t at = 0; at < of.width; at += W) {
        const int64_t from = at + W <= of.width ? at : of.width - W;
        const Floats<W> z = load<W>(gate + from);
        store<W>(y + from, load<W>(value + from) * (z * normal<W>(z).distribution));
      }
    }
  }

  SPO_ENTRY static void backward(const GegluRows<Number>& of) {
    for (int64_t row = 0; row < of.rows; row++) {
      const Number* value = of.x + 2 * row * of.width;
      const Number* gate = value + of.width;
      const Number* gradient = of.gradient + row * of.width;
      Number* dx = of.result + 2 * row * of.width;
      for (int64_t at = 0; at < of.width; at += W) {
        const int64_t from = at + W <= of.width ? at : of.width - W;
        const Floats<W> z = load<W>(gate + from), dy = load<W>(gradient + from);
        const Normal<W> n = normal<W>(z);
        store<W>(dx + from, dy * (z * n.distribution));
        store<W>(dx + of.width + from, dy * load<W>(value + from) * (n.distribution + z * n.density));
      }
    }
  }

  static constexpr GegluKernels<Number> kernels{forward, backward};
};

/** With the widest vectors that a row fills. */
template <class Number>
const GegluKernels<Number>& geglu_kernels(int64_t width) {
  if constexpr (SPO_LANES >= 16) {
    if (width >= 16) return GegluOf<16, Number>::kernels;
  }
  if constexpr (SPO_LANES >= 8) {
    if (width >= 8) return GegluOf<8, Number>::kernels;
  }
  return GegluOf<4, Number>::kernels;
}

}  // namespace SPO_ISA
}  // namespace
