// Attention of one head, softmax(q·kᵀ·scale)·v. Included once for each instruction set, as vectors.h.
//
// kRows queries are taken at a time. Keys stand in panels [panel, dims, kPanel]: a vector holds one dimension of neighbouring keys. Places
// beyond the last key have k = v = 0, the score -∞, and so the weight 0.

namespace {
namespace SPO_ISA {

constexpr int kLanes = SPO_LANES;
constexpr int kRows = 8;
constexpr int kTile = kLanes >= 16 ? 8 : 4;  // rows of which the registers hold a panel
constexpr int64_t kPanel = 2 * kLanes;
constexpr int64_t kBlockPanels = 512 / kPanel;  // of which the scores are kept; more keys are taken block by block

using Vector = Floats<kLanes>;

/** rows [n, dims] → panels. */
SPO_TARGET void pack_panels(const AttentionRows& rows, int64_t n, int64_t dims, float* panels) {
  for (int64_t at = 0; at < n; at += kPanel, panels += dims * kPanel) {
    const int64_t count = n - at < kPanel ? n - at : kPanel;
    if (count < kPanel) __builtin_memset(panels, 0, sizeof(float) * dims * kPanel);
    for (int64_t i = 0; i < count; i++) {
      const float* row = rows.at + (at + i) * rows.stride;
      for (int64_t d = 0; d < dims; d++) panels[d * kPanel + i] = row[d];
    }
  }
}

/** Panels → rows [n, dims]. */
SPO_TARGET void unpack_panels(const float* panels, int64_t n, int64_t dims, const AttentionRows& rows) {
  for (int64_t i = 0; i < n; i++) {
    const float* from = panels + i / kPanel * dims * kPanel + i % kPanel;
    float* row = rows.at + i * rows.stride;
    for (int64_t d = 0; d < dims; d++) row[d] = from[d * kPanel];
  }
}

/** rows [n, dims] → [padded, width], zeros where there are none. */
SPO_TARGET void pack_rows(const AttentionRows& rows, int64_t n, int64_t dims, int64_t padded, int64_t width, float* to) {
  __builtin_memset(to, 0, sizeof(float) * padded * width);
  for (int64_t i = 0; i < n; i++) __builtin_memcpy(to + i * width, rows.at + i * rows.stride, sizeof(float) * dims);
}

/** rows [n, dims] times `factor` → [dims, kRows], zeros where there are none. */
SPO_TARGET void pack_columns(const AttentionRows& rows, int64_t n, int64_t dims, float factor, float* to) {
  for (int64_t r = 0; r < kRows; r++) {
    for (int64_t d = 0; d < dims; d++) to[d * kRows + r] = r < n ? rows.at[r * rows.stride + d] * factor : 0;
  }
}

/** columns [dims, kRows]ᵀ · a panel → to [kRows, kPanel]. */
SPO_TARGET void times_panel(const float* columns, const float* panel, int64_t dims, float* to) {
  for (int64_t tile = 0; tile < kRows; tile += kTile) {
    Vector sums[kTile][2] = {};
    for (int64_t d = 0; d < dims; d++) {
      const float* column = columns + d * kRows + tile;
      const Vector left = load<kLanes>(panel + d * kPanel), right = load<kLanes>(panel + d * kPanel + kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kTile; r++) {
        sums[r][0] += column[r] * left;
        sums[r][1] += column[r] * right;
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kTile; r++) {
      store<kLanes>(to + (tile + r) * kPanel, sums[r][0]);
      store<kLanes>(to + (tile + r) * kPanel + kLanes, sums[r][1]);
    }
  }
}

/** panel += columns [dims, kRows] · weights [kRows, kPanel]. */
SPO_TARGET void add_to_panel(const float* weights, const float* columns, int64_t dims, float* panel) {
  for (int64_t tile = 0; tile < kRows; tile += kTile) {
    Vector held[kTile][2];
#pragma GCC unroll 8
    for (int r = 0; r < kTile; r++) {
      held[r][0] = load<kLanes>(weights + (tile + r) * kPanel);
      held[r][1] = load<kLanes>(weights + (tile + r) * kPanel + kLanes);
    }
    for (int64_t d = 0; d < dims; d++) {
      const float* column = columns + d * kRows + tile;
      float* to = panel + d * kPanel;
      Vector left = load<kLanes>(to), right = load<kLanes>(to + kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kTile; r++) {
        left += column[r] * held[r][0];
        right += column[r] * held[r][1];
      }
      store<kLanes>(to, left);
      store<kLanes>(to + kLanes, right);
    }
  }
}

/** to [kTile, width] += weights [panels, kRows, kPanel] · values [panels · kPanel, width]: the first kTile rows, N·W columns. */
template <int W, int N>
SPO_TARGET void add_columns(const float* weights, int64_t panels, const float* values, int64_t width, float* to) {
  Floats<W> sums[kTile][N];
#pragma GCC unroll 8
  for (int r = 0; r < kTile; r++) {
    for (int i = 0; i < N; i++) sums[r][i] = load<W>(to + r * width + i * W);
  }
  for (int64_t p = 0; p < panels; p++, weights += kRows * kPanel) {
    for (int64_t s = 0; s < kPanel; s++, values += width) {
      Floats<W> value[N];
      for (int i = 0; i < N; i++) value[i] = load<W>(values + i * W);
#pragma GCC unroll 8
      for (int r = 0; r < kTile; r++) {
        for (int i = 0; i < N; i++) sums[r][i] += weights[r * kPanel + s] * value[i];
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kTile; r++) {
    for (int i = 0; i < N; i++) store<W>(to + r * width + i * W, sums[r][i]);
  }
}

/** Floats of a row of values, a whole number of vectors. */
constexpr int64_t padded_width(int64_t dims) {
  const int64_t lanes = kLanes > 8 && dims <= 8 ? 8 : kLanes;
  return (dims + lanes - 1) / lanes * lanes;
}

/** to [kRows, width] += weights [panels, kRows, kPanel] · values [panels · kPanel, width]. */
SPO_TARGET void add_values(const float* weights, int64_t panels, const float* values, int64_t width, float* to) {
  for (int64_t tile = 0; tile < kRows; tile += kTile, weights += kTile * kPanel, to += kTile * width) {
    if (width < kLanes) add_columns<8 < kLanes ? 8 : kLanes, 1>(weights, panels, values, width, to);
    int64_t column = 0;
    for (; column + kPanel <= width; column += kPanel) add_columns<kLanes, 2>(weights, panels, values + column, width, to + column);
    for (; column + kLanes <= width; column += kLanes) add_columns<kLanes, 1>(weights, panels, values + column, width, to + column);
  }
}

template <int W>
SPO_TARGET float sum_of(Floats<W> lanes) {
  if constexpr (W == 1) return lanes[0];
  else {
    float parts[W];
    store<W>(parts, lanes);
    return sum_of<W / 2>(load<W / 2>(parts) + load<W / 2>(parts + W / 2));
  }
}

template <int W>
SPO_TARGET Floats<W> larger(Floats<W> a, Floats<W> b) {
  return a > b ? a : b;
}

template <int W>
SPO_TARGET float largest_of(Floats<W> lanes) {
  if constexpr (W == 1) return lanes[0];
  else {
    float parts[W];
    store<W>(parts, lanes);
    return largest_of<W / 2>(larger<W / 2>(load<W / 2>(parts), load<W / 2>(parts + W / 2)));
  }
}

/** eˣ, and 0 below -80: products with what is left of such a weight would be denormal numbers, which take a hundred times as long. */
SPO_TARGET Vector weight_of(Vector x) {
  return unless<kLanes>(x < -80.0f, exponential<kLanes>(x));
}

/** A row's scores in [panels, kRows, kPanel] → eˢ⁻ᵐ, where m is the largest of them and `most`; → m, and adds their sum to `sum`. */
SPO_TARGET float exponentials(float* scores, int64_t panels, float most, float& sum) {
  const float* end = scores + panels * kRows * kPanel;
  Vector top[2] = {Vector{} + most, Vector{} + most};
  for (const float* at = scores; at < end; at += kRows * kPanel) {
    for (int i = 0; i < 2; i++) top[i] = larger<kLanes>(load<kLanes>(at + i * kLanes), top[i]);
  }
  most = largest_of<kLanes>(larger<kLanes>(top[0], top[1]));
  Vector total[2] = {};
  for (float* at = scores; at < end; at += kRows * kPanel) {
    for (int i = 0; i < 2; i++) {
      const Vector weight = weight_of(load<kLanes>(at + i * kLanes) - most);
      total[i] += weight;
      store<kLanes>(at + i * kLanes, weight);
    }
  }
  sum += sum_of<kLanes>(total[0] + total[1]);
  return most;
}

/** Scores [kRows, kPanel] of the panel that starts with key `first`: those from `keys` on get no weight. */
SPO_TARGET void hide_beyond(float* scores, int64_t first, int64_t keys) {
  for (int r = 0; r < kRows; r++) {
    for (int64_t i = keys - first; i < kPanel; i++) scores[r * kPanel + i] = -__builtin_inff();
  }
}

constexpr int64_t panels_of(const AttentionHead& head) { return (head.keys + kPanel - 1) / kPanel; }
constexpr int64_t block_of(int64_t panels) { return panels < kBlockPanels ? panels : kBlockPanels; }

constexpr int64_t attention_memory(const AttentionHead& head, bool backward) {
  const int64_t panels = panels_of(head), keys = panels * kPanel, width = padded_width(head.dims);
  if (backward) return (4 * head.dims + width) * keys + kRows * (2 * head.dims + width + 2 * kPanel);
  return (head.dims + width) * keys + kRows * (head.dims + width + block_of(panels) * kPanel);
}

/** Takes pieces of a head's memory, in the order of falling alignment. */
struct AttentionMemory {
  float* next;
  SPO_TARGET float* take(int64_t floats) { return (next += floats) - floats; }
};

SPO_ENTRY void attend(const AttentionHead& head, float* memory) {
  const int64_t dims = head.dims, width = padded_width(dims), panels = panels_of(head);
  const int64_t block = block_of(panels);
  AttentionMemory pieces{memory};
  float* keys = pieces.take(dims * panels * kPanel);
  float* values = pieces.take(width * panels * kPanel);
  float* scores = pieces.take(kRows * block * kPanel);
  float* out = pieces.take(kRows * width);
  float* queries = pieces.take(kRows * dims);
  pack_panels(head.key, head.keys, dims, keys);
  pack_rows(head.value, head.keys, dims, panels * kPanel, width, values);
  for (int64_t first = 0; first < head.queries; first += kRows) {
    const int64_t count = head.queries - first < kRows ? head.queries - first : kRows;
    pack_columns(head.query.from(first), count, dims, head.scale, queries);
    __builtin_memset(out, 0, sizeof(float) * kRows * width);
    float most[kRows], sum[kRows] = {};
    for (int r = 0; r < kRows; r++) most[r] = -__builtin_inff();
    for (int64_t from = 0; from < panels; from += block) {
      const int64_t to = from + block < panels ? from + block : panels;
      for (int64_t p = from; p < to; p++) times_panel(queries, keys + p * dims * kPanel, dims, scores + (p - from) * kRows * kPanel);
      if (to == panels) hide_beyond(scores + (to - from - 1) * kRows * kPanel, (to - 1) * kPanel, head.keys);
      for (int r = 0; r < kRows; r++) {
        const float before = most[r];
        const float so_far = sum[r];
        sum[r] = 0;
        most[r] = exponentials(scores + r * kPanel, to - from, before, sum[r]);
        if (from == 0) continue;
        const float less = exponential<4>(Floats<4>{} + (before - most[r]))[0];
        sum[r] += so_far * less;
        for (int64_t d = 0; d < width; d++) out[r * width + d] *= less;
      }
      add_values(scores, to - from, values + from * kPanel * width, width, out);
    }
    for (int64_t r = 0; r < count; r++) {
      float* row = head.out.at + (first + r) * head.out.stride;
      for (int64_t d = 0; d < dims; d++) row[d] = out[r * width + d] / sum[r];
      head.log_sum.at[(first + r) * head.log_sum.stride] = most[r] + __builtin_logf(sum[r]);
    }
  }
}

SPO_ENTRY void attend_backward(const AttentionHead& head, float* memory) {
  const int64_t dims = head.dims, width = padded_width(dims), panels = panels_of(head), panel = dims * kPanel;
  AttentionMemory pieces{memory};
  float* keys = pieces.take(panels * panel);
  float* values = pieces.take(panels * panel);
  float* key_gradients = pieces.take(panels * panel);
  float* value_gradients = pieces.take(panels * panel);
  float* key_rows = pieces.take(width * panels * kPanel);
  float* weights = pieces.take(kRows * kPanel);
  float* slopes = pieces.take(kRows * kPanel);
  float* query_gradient = pieces.take(kRows * width);
  float* queries = pieces.take(kRows * dims);
  float* gradients = pieces.take(kRows * dims);
  pack_panels(head.key, head.keys, dims, keys);
  pack_panels(head.value, head.keys, dims, values);
  pack_rows(head.key, head.keys, dims, panels * kPanel, width, key_rows);
  __builtin_memset(key_gradients, 0, sizeof(float) * 2 * panels * panel);  // and those of the values
  for (int64_t first = 0; first < head.queries; first += kRows) {
    const int64_t count = head.queries - first < kRows ? head.queries - first : kRows;
    pack_columns(head.query.from(first), count, dims, head.scale, queries);
    pack_columns(head.gradient.from(first), count, dims, 1, gradients);
    __builtin_memset(query_gradient, 0, sizeof(float) * kRows * width);
    float common[kRows] = {}, log_sum[kRows] = {};
    for (int64_t r = 0; r < count; r++) {
      const float* out = head.out.at + (first + r) * head.out.stride;
      for (int64_t d = 0; d < dims; d++) common[r] += out[d] * gradients[d * kRows + r];
      log_sum[r] = head.log_sum.at[(first + r) * head.log_sum.stride];
    }
    for (int64_t p = 0; p < panels; p++) {
      times_panel(queries, keys + p * panel, dims, weights);
      if (p == panels - 1) hide_beyond(weights, p * kPanel, head.keys);
      times_panel(gradients, values + p * panel, dims, slopes);
      for (int64_t i = 0; i < kRows * kPanel; i += kLanes) {
        const Vector weight = weight_of(load<kLanes>(weights + i) - log_sum[i / kPanel]);
        store<kLanes>(weights + i, weight);
        store<kLanes>(slopes + i, weight * (load<kLanes>(slopes + i) - common[i / kPanel]));
      }
      add_to_panel(weights, gradients, dims, value_gradients + p * panel);
      add_to_panel(slopes, queries, dims, key_gradients + p * panel);
      add_values(slopes, 1, key_rows + p * kPanel * width, width, query_gradient);
    }
    for (int64_t r = 0; r < count; r++) {
      float* row = head.query_gradient.at + (first + r) * head.query_gradient.stride;
      for (int64_t d = 0; d < dims; d++) row[d] = query_gradient[r * width + d] * head.scale;
    }
  }
  unpack_panels(key_gradients, head.keys, dims, head.key_gradient);
  unpack_panels(value_gradients, head.keys, dims, head.value_gradient);
}

constexpr AttentionKernels attention_kernels{attention_memory, attend, attend_backward};

}  // namespace SPO_ISA
}  // namespace
