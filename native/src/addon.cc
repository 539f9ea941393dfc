// libtorch for Node: one boxed dispatcher call, tensor handles, autograd, generators, mapped files.
//
// Nothing here knows a model, a layer or a single operator by name. JavaScript holds tensors as small integers ("handles"): an index
// into a table of at::Tensor. A call reads its arguments by the operator's own schema, so an integer can never be taken for a tensor.
// Every entry point is wrapped by `guarded`, which turns C++ exceptions into JavaScript errors; nothing may abort the process.

#include <fcntl.h>
#include <malloc.h>
#include <node_api.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/AcceleratorHooksInterface.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/version.h>
#include "meta-book.h"

namespace {

// ---------------------------------------------------------------------------------------------------------------- errors

/** Thrown for wrong arguments; the message is what the user reads. */
struct ArgumentError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/** Thrown when N-API has already put an exception in place. */
struct PendingException {};

/** What went wrong, without C++ frames. */
std::string reason(const std::exception& error) {
  const auto* from_torch = dynamic_cast<const c10::Error*>(&error);
  return from_torch ? from_torch->what_without_backtrace() : error.what();
}

[[noreturn]] void fail(const std::string& message) { throw ArgumentError(message); }

void check(napi_env env, napi_status status) {
  if (status == napi_ok) return;
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) throw PendingException{};
  const napi_extended_error_info* info = nullptr;
  napi_get_last_error_info(env, &info);
  fail(info && info->error_message ? info->error_message : "N-API call failed");
}

// --------------------------------------------------------------------------------------------------------------- context

enum class Kind : uint8_t {
  Tensor, TensorList, OptionalTensorList, Int, IntList, Float, FloatList, Bool, BoolList, Scalar, String, Device, Generator,
  ScalarType, Layout, MemoryFormat, Unsupported
};

struct Argument {
  Kind kind;
  bool optional;  // None is allowed
  int32_t fixed;  // length of a sized list, or -1
};

struct Operator {
  c10::OperatorHandle handle;
  std::string name;
  std::vector<Argument> arguments;
  bool in_place;  // gives back its first argument: JavaScript already holds that handle
};

/** A file in memory, alive until the last tensor over it is gone. Private, so that a write never reaches the file. */
struct Mapping {
  void* data = nullptr;
  size_t size = 0;
  ~Mapping() {
    if (data) munmap(data, size);
  }
};

/** All state of one JavaScript environment. */
struct Context {
  napi_env env;
  std::vector<at::Tensor> tensors{at::Tensor()};  // handle 0 is never a tensor
  std::vector<uint32_t> free;
  std::deque<Operator> operators;  // not a vector: JavaScript may run during a call (a getter in an array) and ask for another operator
  std::unordered_map<std::string, uint32_t> operator_index;
  std::vector<at::Generator> generators{at::Generator()};
  std::vector<uint32_t> free_generators;
  std::unordered_map<uint32_t, std::shared_ptr<Mapping>> mappings;
  uint32_t next_mapping = 1;
  std::vector<std::unique_ptr<c10::InferenceMode>> inference;
  std::vector<c10::IValue> stack;
  // References to array buffers whose last tensor died, perhaps on another thread; given back at the next call.
  std::shared_ptr<std::pair<std::mutex, std::vector<napi_ref>>> released =
      std::make_shared<std::pair<std::mutex, std::vector<napi_ref>>>();

  uint32_t put(at::Tensor tensor) {
    if (!free.empty()) {
      const uint32_t handle = free.back();
      free.pop_back();
      tensors[handle] = std::move(tensor);
      return handle;
    }
    tensors.push_back(std::move(tensor));
    return static_cast<uint32_t>(tensors.size() - 1);
  }

  at::Tensor& get(uint32_t handle) {
    if (handle == 0 || handle >= tensors.size() || !tensors[handle].defined()) fail("this tensor was disposed");
    return tensors[handle];
  }

  void release(uint32_t handle) {
    if (handle == 0 || handle >= tensors.size() || !tensors[handle].defined()) return;
    tensors[handle].reset();
    free.push_back(handle);
  }
};

// ------------------------------------------------------------------------------------------------- JavaScript to C++ and back

constexpr size_t kMaxArguments = 24;
constexpr uint32_t kMaxElements = 1 << 20;  // of a JavaScript array; numbers in bulk come in typed arrays

struct Call {
  Context& context;
  napi_env env;
  size_t count;
  napi_value values[kMaxArguments];
};

napi_valuetype type_of(napi_env env, napi_value value) {
  napi_valuetype type;
  check(env, napi_typeof(env, value, &type));
  return type;
}

bool is_nullish(napi_env env, napi_value value) {
  const auto type = type_of(env, value);
  return type == napi_undefined || type == napi_null;
}

double to_double(napi_env env, napi_value value) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) fail("expected a number");
  return number;
}

int64_t to_int(napi_env env, napi_value value) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) {
    int64_t big;
    bool lossless;
    if (napi_get_value_bigint_int64(env, value, &big, &lossless) != napi_ok || !lossless) fail("expected an integer");
    return big;
  }
  if (!(std::fabs(number) <= 9007199254740992.0) || number != std::trunc(number)) fail("expected an integer");
  return static_cast<int64_t>(number);
}

uint32_t to_handle(napi_env env, napi_value value) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= 0 && number < 4294967296.0) || number != std::trunc(number)) {
    fail("expected a tensor");
  }
  return static_cast<uint32_t>(number);
}

bool to_bool(napi_env env, napi_value value) {
  bool flag;
  if (napi_get_value_bool(env, value, &flag) != napi_ok) fail("expected a boolean");
  return flag;
}

std::string to_string(napi_env env, napi_value value) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) fail("expected a string");
  std::string text(length, '\0');
  check(env, napi_get_value_string_utf8(env, value, text.data(), length + 1, &length));
  if (text.find('\0') != std::string::npos) fail("expected a string without a NUL character");
  return text;
}

template <class Visit>
void each(napi_env env, napi_value array, const Visit& visit) {
  bool is_array = false;
  check(env, napi_is_array(env, array, &is_array));
  if (!is_array) fail("expected an array");
  uint32_t length;
  check(env, napi_get_array_length(env, array, &length));
  if (length > kMaxElements) fail("the array is too long");
  for (uint32_t i = 0; i < length; i++) {
    napi_value element;
    check(env, napi_get_element(env, array, i, &element));
    visit(element);
  }
}

std::vector<int64_t> to_ints(napi_env env, napi_value array) {
  std::vector<int64_t> values;
  each(env, array, [&](napi_value v) { values.push_back(to_int(env, v)); });
  return values;
}

std::vector<at::Tensor> to_tensors(Call& call, napi_value array) {
  std::vector<at::Tensor> values;
  each(call.env, array, [&](napi_value v) { values.push_back(call.context.get(to_handle(call.env, v))); });
  return values;
}

/** The code of an enumeration. Kernels index tables with it unchecked. */
int64_t to_code(napi_env env, napi_value value, const char* what, bool (*known)(int64_t)) {
  const auto code = to_int(env, value);
  if (!known(code)) fail(std::string("unknown ") + what + " " + std::to_string(code));
  return code;
}

/** Integers, floats and complex numbers, bool, bfloat16; the quantized ones and those of eight bits or less need more than a shape. */
at::ScalarType to_dtype(napi_env env, napi_value value) {
  return static_cast<at::ScalarType>(to_code(env, value, "dtype", [](int64_t code) { return (code >= 0 && code <= 11) || code == 15; }));
}

c10::Scalar to_scalar(napi_env env, napi_value value) {
  double number;
  if (napi_get_value_double(env, value, &number) == napi_ok) {
    const bool integer = number == std::trunc(number) && std::fabs(number) <= 9007199254740992.0 && !(number == 0 && std::signbit(number));
    return integer ? c10::Scalar(static_cast<int64_t>(number)) : c10::Scalar(number);
  }
  if (type_of(env, value) == napi_boolean) return c10::Scalar(to_bool(env, value));
  return c10::Scalar(to_int(env, value));
}

napi_value from_number(napi_env env, double number) {
  napi_value value;
  check(env, napi_create_double(env, number, &value));
  return value;
}

napi_value from_handle(napi_env env, uint32_t handle) {
  napi_value value;
  check(env, napi_create_uint32(env, handle, &value));
  return value;
}

napi_value from_bool(napi_env env, bool flag) {
  napi_value value;
  check(env, napi_get_boolean(env, flag, &value));
  return value;
}

napi_value from_string(napi_env env, const std::string& text) {
  napi_value value;
  check(env, napi_create_string_utf8(env, text.data(), text.size(), &value));
  return value;
}

napi_value undefined(napi_env env) {
  napi_value value;
  check(env, napi_get_undefined(env, &value));
  return value;
}

template <class Values, class Convert>
napi_value from_list(napi_env env, const Values& values, const Convert& convert) {
  napi_value array;
  check(env, napi_create_array_with_length(env, std::size(values), &array));
  uint32_t i = 0;
  for (const auto& v : values) check(env, napi_set_element(env, array, i++, convert(v)));
  return array;
}

napi_value from_tensor(Call& call, const at::Tensor& tensor) {
  if (!tensor.defined()) {
    napi_value null;
    check(call.env, napi_get_null(call.env, &null));
    return null;
  }
  return from_handle(call.env, call.context.put(tensor));
}

napi_value from_ivalue(Call& call, const c10::IValue& value) {
  if (value.isTensor()) return from_tensor(call, value.toTensor());
  if (value.isTensorList()) return from_list(call.env, value.toTensorVector(), [&](const at::Tensor& t) { return from_tensor(call, t); });
  if (value.isInt()) return from_number(call.env, static_cast<double>(value.toInt()));
  if (value.isDouble()) return from_number(call.env, value.toDouble());
  if (value.isBool()) return from_bool(call.env, value.toBool());
  if (value.isScalar()) return from_number(call.env, value.toScalar().toDouble());
  if (value.isIntList()) return from_list(call.env, value.toIntVector(), [&](int64_t v) { return from_number(call.env, v); });
  if (value.isString()) return from_string(call.env, value.toStringRef());
  if (value.isNone()) return undefined(call.env);
  fail("result of kind " + value.tagKind() + " has no JavaScript form");
}

// ------------------------------------------------------------------------------------------------------------ dispatcher

Argument describe(const c10::Argument& argument) {
  Argument result{Kind::Unsupported, false, -1};
  c10::TypePtr type = argument.type();
  if (auto optional = type->cast<c10::OptionalType>()) {
    result.optional = true;
    type = optional->getElementType();
  }
  if (argument.N()) result.fixed = *argument.N();
  if (auto list = type->cast<c10::ListType>()) {
    const auto element = list->getElementType();
    switch (element->kind()) {
      case c10::TypeKind::TensorType: result.kind = Kind::TensorList; break;
      case c10::TypeKind::OptionalType: result.kind = Kind::OptionalTensorList; break;
      case c10::TypeKind::IntType: result.kind = Kind::IntList; break;
      case c10::TypeKind::FloatType: result.kind = Kind::FloatList; break;
      case c10::TypeKind::BoolType: result.kind = Kind::BoolList; break;
      default: break;
    }
    return result;
  }
  c10::TypePtr real = argument.real_type();  // tells an enumeration from an integer
  if (auto optional = real->cast<c10::OptionalType>()) real = optional->getElementType();
  switch (real->kind()) {
    case c10::TypeKind::ScalarTypeType: result.kind = Kind::ScalarType; return result;
    case c10::TypeKind::LayoutType: result.kind = Kind::Layout; return result;
    case c10::TypeKind::MemoryFormatType: result.kind = Kind::MemoryFormat; return result;
    default: break;
  }
  switch (type->kind()) {
    case c10::TypeKind::TensorType: result.kind = Kind::Tensor; break;
    case c10::TypeKind::IntType: result.kind = Kind::Int; break;
    case c10::TypeKind::FloatType: result.kind = Kind::Float; break;
    case c10::TypeKind::BoolType: result.kind = Kind::Bool; break;
    case c10::TypeKind::NumberType: result.kind = Kind::Scalar; break;
    case c10::TypeKind::StringType: result.kind = Kind::String; break;
    case c10::TypeKind::DeviceObjType: result.kind = Kind::Device; break;
    case c10::TypeKind::GeneratorType: result.kind = Kind::Generator; break;
    default: break;
  }
  return result;
}

at::Generator& get_generator(Context& context, uint32_t handle) {
  if (handle == 0 || handle >= context.generators.size() || !context.generators[handle].defined()) fail("this generator was disposed");
  return context.generators[handle];
}

c10::IValue to_ivalue(Call& call, const Argument& argument, napi_value value) {
  napi_env env = call.env;
  if (argument.optional && is_nullish(env, value)) return c10::IValue();
  switch (argument.kind) {
    case Kind::Tensor: return call.context.get(to_handle(env, value));
    case Kind::Int: return to_int(env, value);
    case Kind::Float: return to_double(env, value);
    case Kind::Bool: return to_bool(env, value);
    case Kind::Scalar: return to_scalar(env, value);
    case Kind::String: return to_string(env, value);
    case Kind::Device: return c10::Device(to_string(env, value));
    case Kind::Generator: return get_generator(call.context, to_handle(env, value));
    case Kind::ScalarType: return static_cast<int64_t>(to_dtype(env, value));
    case Kind::Layout: return to_code(env, value, "layout", [](int64_t code) { return code == 0; });
    case Kind::MemoryFormat: return to_code(env, value, "memory format", [](int64_t code) { return code >= 0 && code <= 3; });
    case Kind::TensorList: return to_tensors(call, value);
    case Kind::OptionalTensorList: {
      c10::List<std::optional<at::Tensor>> list;
      each(env, value, [&](napi_value v) {
        if (is_nullish(env, v)) list.push_back(std::nullopt);
        else list.push_back(call.context.get(to_handle(env, v)));
      });
      return list;
    }
    case Kind::IntList: {
      double number;
      if (argument.fixed > 0 && napi_get_value_double(env, value, &number) == napi_ok) {
        return std::vector<int64_t>(argument.fixed, to_int(env, value));
      }
      return to_ints(env, value);
    }
    case Kind::FloatList: {
      std::vector<double> values;
      each(env, value, [&](napi_value v) { values.push_back(to_double(env, v)); });
      return values;
    }
    case Kind::BoolList: {
      c10::List<bool> values;
      each(env, value, [&](napi_value v) { values.push_back(to_bool(env, v)); });
      return values;
    }
    default: fail("an argument of this type is not supported");
  }
}

std::string describe(const at::Tensor& tensor) {
  std::ostringstream text;
  text << c10::toString(tensor.scalar_type()) << " " << tensor.sizes();
  if (!tensor.is_cpu()) text << " " << tensor.device();
  return text.str();
}

/** The tensors of a failed call, for its message. */
std::string arguments_text(const std::vector<c10::IValue>& stack) {
  std::string text;
  const auto add = [&](const at::Tensor& tensor) {
    if (tensor.defined()) text += (text.empty() ? "" : ", ") + describe(tensor);
  };
  for (const auto& value : stack) {
    if (value.isTensor()) add(value.toTensor());
    else if (value.isTensorList()) for (const at::Tensor& t : value.toTensorVector()) add(t);
  }
  return text;
}

/** op(name, overload) → index of the operator, for `call`. */
napi_value op(Call& call) {
  const auto name = to_string(call.env, call.values[0]);
  const auto overload = to_string(call.env, call.values[1]);
  const auto key = name + "." + overload;
  auto& context = call.context;
  if (const auto found = context.operator_index.find(key); found != context.operator_index.end()) return from_handle(call.env, found->second);
  const auto handle = c10::Dispatcher::singleton().findSchema({name, overload});
  if (!handle) fail("libtorch has no operator " + key);
  const auto& schema = handle->schema();
  Operator entry{*handle, overload.empty() ? name : key, {}, false};
  for (const auto& argument : schema.arguments()) entry.arguments.push_back(describe(argument));
  if (entry.arguments.size() >= kMaxArguments) fail(key + " has too many arguments");
  const auto& returns = schema.returns();
  entry.in_place = returns.size() == 1 && returns[0].alias_info() && returns[0].alias_info()->isWrite() && !schema.arguments().empty() &&
                   schema.arguments()[0].alias_info() && schema.arguments()[0].alias_info()->isWrite();
  context.operators.push_back(std::move(entry));
  const auto index = static_cast<uint32_t>(context.operators.size() - 1);
  context.operator_index.emplace(key, index);
  return from_handle(call.env, index);
}

/** call(index, ...arguments) → handle, array of handles, number, or undefined for an operator that works in place. */
napi_value call_operator(Call& call) {
  napi_env env = call.env;
  uint32_t index;
  if (call.count < 1 || napi_get_value_uint32(env, call.values[0], &index) != napi_ok || index >= call.context.operators.size()) {
    fail("expected an operator");
  }
  // A copy of the handle is cheap; the vector may grow while we are inside (never today, but a reference would dangle).
  const Operator& entry = call.context.operators[index];
  std::vector<c10::IValue> stack = std::move(call.context.stack);
  stack.clear();
  stack.reserve(entry.arguments.size());
  const auto& schema = entry.handle.schema();
  if (call.count - 1 > entry.arguments.size()) fail(entry.name + " takes " + std::to_string(entry.arguments.size()) + " arguments");
  for (size_t i = 0; i < entry.arguments.size(); i++) {
    const Argument& argument = entry.arguments[i];
    const auto& declared = schema.arguments()[i];
    if (i + 1 >= call.count || type_of(env, call.values[i + 1]) == napi_undefined) {
      if (declared.default_value()) stack.push_back(*declared.default_value());
      else if (argument.optional) stack.emplace_back();
      else fail(entry.name + ": argument '" + declared.name() + "' is missing");
      continue;
    }
    try {
      stack.push_back(to_ivalue(call, argument, call.values[i + 1]));
    } catch (const std::exception& error) {
      fail(entry.name + ": argument '" + declared.name() + "': " + reason(error));
    }
  }
  try {
    entry.handle.callBoxed(stack);
  } catch (const std::exception& error) {
    const std::string shapes = arguments_text(stack);
    fail(entry.name + (shapes.empty() ? "" : "(" + shapes + ")") + ": " + reason(error));
  }
  napi_value result;
  if (entry.in_place || stack.empty()) result = undefined(env);
  else if (stack.size() == 1) result = from_ivalue(call, stack[0]);
  else result = from_list(env, stack, [&](const c10::IValue& v) { return from_ivalue(call, v); });
  stack.clear();
  call.context.stack = std::move(stack);
  return result;
}

/** schemas() → every operator's schema as text. */
napi_value schemas(Call& call) {
  std::vector<std::string> texts;
  for (const auto& name : c10::Dispatcher::singleton().getAllOpNames()) {
    if (const auto handle = c10::Dispatcher::singleton().findSchema(name)) texts.push_back(c10::toString(handle->schema()));
  }
  return from_list(call.env, texts, [&](const std::string& text) { return from_string(call.env, text); });
}

// --------------------------------------------------------------------------------------------------------------- tensors

/** release(Uint32Array handles, count): drops the first `count` handles. */
napi_value release(Call& call) {
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(call.env, call.values[0], &type, &length, &data, nullptr, nullptr) != napi_ok || type != napi_uint32_array) {
    fail("expected a Uint32Array");
  }
  const auto count = to_int(call.env, call.values[1]);
  if (count < 0 || static_cast<size_t>(count) > length) fail("count is out of range");
  const auto* handles = static_cast<const uint32_t*>(data);
  for (int64_t i = 0; i < count; i++) call.context.release(handles[i]);
  return undefined(call.env);
}

napi_value release_one(Call& call) {
  call.context.release(to_handle(call.env, call.values[0]));
  return undefined(call.env);
}

at::Tensor& tensor_argument(Call& call, size_t index = 0) {
  if (index >= call.count) fail("expected a tensor");
  return call.context.get(to_handle(call.env, call.values[index]));
}

/** alias(handle) → a second handle on the same tensor. */
napi_value alias(Call& call) {
  at::Tensor tensor = tensor_argument(call);
  return from_handle(call.env, call.context.put(std::move(tensor)));
}

/** replace(handle, source): the handle now means the source's tensor. */
napi_value replace(Call& call) {
  at::Tensor source = tensor_argument(call, 1);
  tensor_argument(call, 0) = std::move(source);
  return undefined(call.env);
}

napi_value sizes(Call& call) {
  return from_list(call.env, tensor_argument(call).sizes(), [&](int64_t n) { return from_number(call.env, static_cast<double>(n)); });
}

napi_value strides(Call& call) {
  return from_list(call.env, tensor_argument(call).strides(), [&](int64_t n) { return from_number(call.env, static_cast<double>(n)); });
}

napi_value dtype(Call& call) { return from_number(call.env, static_cast<int>(tensor_argument(call).scalar_type())); }
napi_value device(Call& call) { return from_string(call.env, tensor_argument(call).device().str()); }
napi_value requires_grad(Call& call) { return from_bool(call.env, tensor_argument(call).requires_grad()); }
napi_value is_leaf(Call& call) { return from_bool(call.env, tensor_argument(call).is_leaf()); }

napi_value set_requires_grad(Call& call) {
  tensor_argument(call).requires_grad_(to_bool(call.env, call.values[1]));
  return undefined(call.env);
}

/** item(handle) → the only element as a number. */
napi_value item(Call& call) {
  const auto& tensor = tensor_argument(call);
  const c10::Scalar scalar = tensor.item();
  if (scalar.isIntegral(true)) return from_number(call.env, static_cast<double>(scalar.toLong()));
  return from_number(call.env, scalar.toDouble());
}

size_t byte_size(at::IntArrayRef shape, at::ScalarType type) {
  size_t bytes = c10::elementSize(type);
  for (const int64_t n : shape) {
    if (n < 0) fail("a size is negative");
    if (__builtin_mul_overflow(bytes, static_cast<size_t>(n), &bytes)) fail("the shape is too large");
  }
  return bytes;
}

/** fromBuffer(view, dtype, shape, copy) → tensor over the bytes of an ArrayBuffer view (which stays alive), or over a copy. */
napi_value from_buffer(Call& call) {
  napi_env env = call.env;
  napi_value view = call.values[0];
  bool is_typed = false;
  check(env, napi_is_typedarray(env, view, &is_typed));
  if (!is_typed) fail("expected a typed array");
  napi_typedarray_type kind;
  size_t length = 0;
  size_t offset = 0;
  void* data = nullptr;
  napi_value buffer;
  check(env, napi_get_typedarray_info(env, view, &kind, &length, &data, &buffer, &offset));
  static constexpr size_t widths[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
  if (static_cast<size_t>(kind) >= std::size(widths)) fail("this typed array is not supported");
  const size_t available = length * widths[kind];
  const auto type = to_dtype(env, call.values[1]);
  const auto shape = to_ints(env, call.values[2]);
  const size_t bytes = byte_size(shape, type);
  if (bytes != available) {
    fail("the array has " + std::to_string(available) + " bytes (0 if its buffer was detached), the shape needs " + std::to_string(bytes));
  }
  const auto options = at::TensorOptions().dtype(type);
  if (to_bool(env, call.values[3]) || bytes == 0) {
    at::Tensor tensor = at::empty(shape, options);
    if (bytes) std::memcpy(tensor.data_ptr(), data, bytes);
    return from_tensor(call, tensor);
  }
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(type) != 0) fail("the array is not aligned to its dtype");
  napi_ref reference;
  check(env, napi_create_reference(env, buffer, 1, &reference));
  auto released = call.context.released;
  return from_tensor(call, at::from_blob(data, shape, [released, reference](void*) {
    const std::lock_guard<std::mutex> lock(released->first);
    released->second.push_back(reference);
  }, options));
}

at::Tensor plain(const at::Tensor& tensor) {
  if (tensor.device().type() != at::kCPU) fail("the tensor is on " + tensor.device().str() + ", not on cpu");
  return tensor.detach().contiguous();
}

/** copyOut(handle) → ArrayBuffer with a copy of the elements in order, in memory that a garbage collection frees at once. */
napi_value copy_out(Call& call) {
  const at::Tensor tensor = plain(tensor_argument(call));
  const size_t bytes = tensor.nbytes();
  // V8 ends the process when it has no memory for a buffer. This throws, and what it took is free again for V8.
  at::empty({static_cast<int64_t>(bytes)}, at::kByte);
  napi_value buffer;
  void* data = nullptr;
  check(call.env, napi_create_arraybuffer(call.env, bytes, &data, &buffer));
  if (bytes) std::memcpy(data, tensor.data_ptr(), bytes);
  return buffer;
}

/** view(handle) → ArrayBuffer over the tensor's own memory (contiguous, cpu); writes go both ways; keeps the storage alive. */
napi_value view(Call& call) {
  const auto& tensor = tensor_argument(call);
  if (!tensor.is_contiguous()) fail("only a contiguous tensor can be viewed");
  if (tensor.nbytes() == 0) return copy_out(call);  // from no memory Node makes a buffer that counts as detached
  auto* holder = new at::Tensor(plain(tensor));
  napi_value buffer;
  const auto status = napi_create_external_arraybuffer(
      call.env, holder->data_ptr(), holder->nbytes(), [](napi_env, void*, void* hint) { delete static_cast<at::Tensor*>(hint); }, holder, &buffer);
  if (status != napi_ok) delete holder;
  check(call.env, status);
  return buffer;
}

// ---------------------------------------------------------------------------------------------------------- mapped files

/** map(path) → [mapping, size in bytes]. */
napi_value map_file(Call& call) {
  const auto path = to_string(call.env, call.values[0]);
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(path + ": " + std::strerror(errno));
  struct stat info{};
  if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(file);
    fail(path + ": not a regular file");
  }
  auto mapping = std::make_shared<Mapping>();
  mapping->size = static_cast<size_t>(info.st_size);
  if (mapping->size) {
    void* data = mmap(nullptr, mapping->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) {
      const int error = errno;
      close(file);
      fail(path + ": " + std::strerror(error));
    }
    mapping->data = data;
  }
  close(file);
  const uint32_t id = call.context.next_mapping++;
  const auto size = static_cast<double>(mapping->size);
  call.context.mappings.emplace(id, std::move(mapping));
  return from_list(call.env, std::vector<double>{static_cast<double>(id), size}, [&](double v) { return from_number(call.env, v); });
}

std::shared_ptr<Mapping> get_mapping(Call& call) {
  const auto found = call.context.mappings.find(to_handle(call.env, call.values[0]));
  if (found == call.context.mappings.end()) fail("this file was closed");
  return found->second;
}

/** unmap(mapping): tensors over it stay valid; no new ones can be made. */
napi_value unmap(Call& call) {
  call.context.mappings.erase(to_handle(call.env, call.values[0]));
  return undefined(call.env);
}

/** fromMapping(mapping, offset, dtype, shape) → tensor over the file's bytes. */
napi_value from_mapping(Call& call) {
  const auto mapping = get_mapping(call);
  const auto offset = to_int(call.env, call.values[1]);
  const auto type = to_dtype(call.env, call.values[2]);
  const auto shape = to_ints(call.env, call.values[3]);
  const size_t bytes = byte_size(shape, type);
  if (offset < 0 || static_cast<size_t>(offset) > mapping->size || bytes > mapping->size - static_cast<size_t>(offset)) fail("outside the file");
  const auto options = at::TensorOptions().dtype(type);
  if (bytes == 0) return from_tensor(call, at::empty(shape, options));
  auto* data = static_cast<uint8_t*>(mapping->data) + offset;
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(type) != 0) {
    at::Tensor tensor = at::empty(shape, options);
    std::memcpy(tensor.data_ptr(), data, bytes);
    return from_tensor(call, tensor);
  }
  return from_tensor(call, at::from_blob(data, shape, [mapping](void*) {}, options));
}

// -------------------------------------------------------------------------------------------------------------- autograd

std::vector<at::Tensor> optional_tensors(Call& call, napi_value array) {
  std::vector<at::Tensor> values;
  if (is_nullish(call.env, array)) return values;
  each(call.env, array, [&](napi_value v) {
    if (is_nullish(call.env, v)) values.emplace_back();
    else values.push_back(call.context.get(to_handle(call.env, v)));
  });
  return values;
}

/** backward(roots, gradients | null, retainGraph): adds to `.grad` of the leaves. */
napi_value backward(Call& call) {
  torch::autograd::backward(to_tensors(call, call.values[0]), optional_tensors(call, call.values[1]), to_bool(call.env, call.values[2]), false);
  return undefined(call.env);
}

/** grad(outputs, inputs, gradients | null, retainGraph, createGraph) → handles, null where an input has no part in the outputs. */
napi_value grad(Call& call) {
  const auto gradients =
      torch::autograd::grad(to_tensors(call, call.values[0]), to_tensors(call, call.values[1]), optional_tensors(call, call.values[2]),
                            to_bool(call.env, call.values[3]), to_bool(call.env, call.values[4]), true);
  return from_list(call.env, gradients, [&](const at::Tensor& t) { return from_tensor(call, t); });
}

/** gradOf(handle) → handle of `.grad`, or null. */
napi_value grad_of(Call& call) {
  const at::Tensor gradient = tensor_argument(call).grad();
  return from_tensor(call, gradient);
}

/** setGrad(handle, gradient | null). */
napi_value set_grad(Call& call) {
  auto& tensor = tensor_argument(call);
  if (is_nullish(call.env, call.values[1])) {
    tensor.mutable_grad().reset();
    return undefined(call.env);
  }
  // Optimizer kernels take for granted that a gradient is like its parameter.
  const auto& gradient = tensor_argument(call, 1);
  if (gradient.sizes() != tensor.sizes() || gradient.scalar_type() != tensor.scalar_type() || gradient.device() != tensor.device()) {
    fail("a gradient of " + describe(gradient) + " does not fit a tensor of " + describe(tensor));
  }
  if (gradient.is_same(tensor)) fail("a tensor cannot be its own gradient");
  tensor.mutable_grad() = gradient;
  return undefined(call.env);
}

/** clearGrads(handles): drops `.grad` of each. */
napi_value clear_grads(Call& call) {
  for (auto& tensor : to_tensors(call, call.values[0])) tensor.mutable_grad().reset();
  return undefined(call.env);
}

/** setGradMode(on) → what it was. */
napi_value set_grad_mode(Call& call) {
  const bool before = at::GradMode::is_enabled();
  at::GradMode::set_enabled(to_bool(call.env, call.values[0]));
  return from_bool(call.env, before);
}

napi_value push_inference_mode(Call& call) {
  call.context.inference.push_back(std::make_unique<c10::InferenceMode>(to_bool(call.env, call.values[0])));
  return undefined(call.env);
}

napi_value pop_inference_mode(Call& call) {
  if (call.context.inference.empty()) fail("inference mode is not on");
  call.context.inference.pop_back();
  return undefined(call.env);
}

/** setAutocast(device, enabled, dtype) → [enabled, dtype] as they were. */
napi_value set_autocast(Call& call) {
  const auto type = c10::Device(to_string(call.env, call.values[0])).type();
  const auto before = std::vector<double>{at::autocast::is_autocast_enabled(type) ? 1.0 : 0.0, static_cast<double>(at::autocast::get_autocast_dtype(type))};
  const bool enabled = to_bool(call.env, call.values[1]);
  at::autocast::set_autocast_dtype(type, to_dtype(call.env, call.values[2]));
  at::autocast::set_autocast_enabled(type, enabled);
  if (!enabled) at::autocast::clear_cache();
  return from_list(call.env, before, [&](double v) { return from_number(call.env, v); });
}

// ------------------------------------------------------------------------------------------------------------ generators

/** generator(seed, device) → handle. */
napi_value generator(Call& call) {
  const auto seed = static_cast<uint64_t>(to_int(call.env, call.values[0]));
  const c10::Device device(to_string(call.env, call.values[1]));
  at::Generator made;
  if (device.is_cpu()) {
    made = at::detail::createCPUGenerator(seed);
  } else {
    made = at::globalContext().getAcceleratorHooksInterface(device.type()).getNewGenerator(device.index());
    made.set_current_seed(seed);
  }
  auto& context = call.context;
  if (!context.free_generators.empty()) {
    const uint32_t handle = context.free_generators.back();
    context.free_generators.pop_back();
    context.generators[handle] = std::move(made);
    return from_handle(call.env, handle);
  }
  context.generators.push_back(std::move(made));
  return from_handle(call.env, static_cast<uint32_t>(context.generators.size() - 1));
}

napi_value release_generator(Call& call) {
  const auto handle = to_handle(call.env, call.values[0]);
  get_generator(call.context, handle) = at::Generator();
  call.context.free_generators.push_back(handle);
  return undefined(call.env);
}

napi_value generator_state(Call& call) {
  auto& entry = get_generator(call.context, to_handle(call.env, call.values[0]));
  const std::lock_guard<std::mutex> lock(entry.mutex());
  return from_tensor(call, entry.get_state());
}

napi_value set_generator_state(Call& call) {
  auto& entry = get_generator(call.context, to_handle(call.env, call.values[0]));
  const std::lock_guard<std::mutex> lock(entry.mutex());
  entry.set_state(tensor_argument(call, 1));
  return undefined(call.env);
}

// ---------------------------------------------------------------------------------------------------------------- engine

/** threads(n | undefined) → threads within one operator. */
napi_value threads(Call& call) {
  if (call.count > 0 && !is_nullish(call.env, call.values[0])) {
    const auto count = to_int(call.env, call.values[0]);
    // OpenMP ends the process when it cannot start as many as it was told to.
    const int64_t most = 4 * std::max(1u, std::thread::hardware_concurrency());
    if (count < 1 || count > most) fail("threads must be from 1 to " + std::to_string(most));
    at::set_num_threads(static_cast<int>(count));
  }
  return from_number(call.env, at::get_num_threads());
}

/** loadLibrary(path): makes a backend (libtorch_cuda.so) known to the dispatcher. */
napi_value load_library(Call& call) {
  const auto path = to_string(call.env, call.values[0]);
  if (!dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL)) fail(dlerror());
  return undefined(call.env);
}

/** liveHandles() → handles in use. */
napi_value live_handles(Call& call) {
  return from_number(call.env, static_cast<double>(call.context.tensors.size() - 1 - call.context.free.size()));
}

/** metaMemory(restart) → bytes of meta tensors alive, and the most since the last restart. */
napi_value meta_memory(Call& call) {
  if (to_bool(call.env, call.values[0])) MetaBook::peak = MetaBook::alive.load();
  const double figures[] = {static_cast<double>(MetaBook::alive.load()), static_cast<double>(MetaBook::peak.load())};
  return from_list(call.env, figures, [&](double n) { return from_number(call.env, n); });
}

/** adjustMemory(bytes): tells the garbage collector of memory that only it will free. */
napi_value adjust_memory(Call& call) {
  int64_t total;
  check(call.env, napi_adjust_external_memory(call.env, to_int(call.env, call.values[0]), &total));
  return from_number(call.env, static_cast<double>(total));
}

/** trimMemory(): gives free heap pages back to the system. */
napi_value trim_memory(Call& call) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  return undefined(call.env);
}

napi_value facts(Call& call) {
  const std::vector<std::string> values{TORCH_VERSION, at::get_cpu_capability(), at::hasCUDA() ? "cuda" : "cpu"};
  return from_list(call.env, values, [&](const std::string& text) { return from_string(call.env, text); });
}

// ---------------------------------------------------------------------------------------------------------- registration

void drain(Context& context) {
  std::vector<napi_ref> references;
  {
    const std::lock_guard<std::mutex> lock(context.released->first);
    references.swap(context.released->second);
  }
  for (napi_ref reference : references) napi_delete_reference(context.env, reference);
}

void throw_error(napi_env env, const std::string& message) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_error(env, nullptr, message.c_str());
}

template <napi_value (*function)(Call&), size_t required>
napi_value guarded(napi_env env, napi_callback_info info) {
  try {
    void* data = nullptr;
    napi_get_instance_data(env, &data);
    auto& context = *static_cast<Context*>(data);
    Call call{context, env, kMaxArguments, {}};
    check(env, napi_get_cb_info(env, info, &call.count, call.values, nullptr, nullptr));
    if (call.count < required) fail("expected " + std::to_string(required) + " arguments");
    if (call.count > kMaxArguments) fail("too many arguments");
    if (!context.released->second.empty()) drain(context);
    return function(call);
  } catch (const PendingException&) {
  } catch (const std::exception& error) {
    throw_error(env, reason(error));
  } catch (...) {
    throw_error(env, "unknown native error");
  }
  return nullptr;
}

template <napi_value (*function)(Call&), size_t required>
void define(napi_env env, napi_value exports, const char* name) {
  napi_value value;
  check(env, napi_create_function(env, name, NAPI_AUTO_LENGTH, guarded<function, required>, nullptr, &value));
  check(env, napi_set_named_property(env, exports, name, value));
}

napi_value initialise(napi_env env, napi_value exports) {
#ifdef __GLIBC__
  // Activations of a step are freed and wanted again at once. Left alone, glibc maps and unmaps each block above 128 KiB, and the page
  // faults cost more than many kernels.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
#endif
  static MetaBook meta_book;
  c10::SetAllocator(c10::DeviceType::Meta, &meta_book, 100);
  auto* context = new Context();
  context->env = env;
  napi_set_instance_data(env, context, [](napi_env, void* data, void*) {
    // A worker's tensors end with it. Those of the main thread are the system's to take: libtorch's own statics may be gone by then.
    if (gettid() == getpid()) return;
    auto* ending = static_cast<Context*>(data);
    while (!ending->inference.empty()) ending->inference.pop_back();
    delete ending;
  }, nullptr);
  define<op, 2>(env, exports, "op");
  define<call_operator, 1>(env, exports, "call");
  define<schemas, 0>(env, exports, "schemas");
  define<release, 2>(env, exports, "release");
  define<release_one, 1>(env, exports, "releaseOne");
  define<alias, 1>(env, exports, "alias");
  define<replace, 2>(env, exports, "replace");
  define<sizes, 1>(env, exports, "sizes");
  define<strides, 1>(env, exports, "strides");
  define<dtype, 1>(env, exports, "dtype");
  define<device, 1>(env, exports, "device");
  define<requires_grad, 1>(env, exports, "requiresGrad");
  define<is_leaf, 1>(env, exports, "isLeaf");
  define<set_requires_grad, 2>(env, exports, "setRequiresGrad");
  define<item, 1>(env, exports, "item");
  define<from_buffer, 4>(env, exports, "fromBuffer");
  define<copy_out, 1>(env, exports, "copyOut");
  define<view, 1>(env, exports, "view");
  define<map_file, 1>(env, exports, "map");
  define<unmap, 1>(env, exports, "unmap");
  define<from_mapping, 4>(env, exports, "fromMapping");
  define<backward, 3>(env, exports, "backward");
  define<grad, 5>(env, exports, "grad");
  define<grad_of, 1>(env, exports, "gradOf");
  define<set_grad, 2>(env, exports, "setGrad");
  define<clear_grads, 1>(env, exports, "clearGrads");
  define<set_grad_mode, 1>(env, exports, "setGradMode");
  define<push_inference_mode, 1>(env, exports, "pushInferenceMode");
  define<pop_inference_mode, 0>(env, exports, "popInferenceMode");
  define<set_autocast, 3>(env, exports, "setAutocast");
  define<generator, 2>(env, exports, "generator");
  define<release_generator, 1>(env, exports, "releaseGenerator");
  define<generator_state, 1>(env, exports, "generatorState");
  define<set_generator_state, 2>(env, exports, "setGeneratorState");
  define<threads, 0>(env, exports, "threads");
  define<load_library, 1>(env, exports, "loadLibrary");
  define<live_handles, 0>(env, exports, "liveHandles");
  define<meta_memory, 1>(env, exports, "metaMemory");
  define<adjust_memory, 1>(env, exports, "adjustMemory");
  define<trim_memory, 0>(env, exports, "trimMemory");
  define<facts, 0>(env, exports, "facts");
  return exports;
}

}  // namespace

NAPI_MODULE_INIT() { return initialise(env, exports); }
