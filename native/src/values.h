#pragma once
// JavaScript values to C++ and back.

#include <cmath>
#include <cstdio>

#include "context.h"

namespace {

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

/** A value in words, for messages: `a string`, `null`, `0.5`. */
std::string in_words(napi_env env, napi_value value) {
  double number;
  if (napi_get_value_double(env, value, &number) == napi_ok) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", number);
    return text;
  }
  bool is_array = false;
  check(env, napi_is_array(env, value, &is_array));
  if (is_array) return "a list";
  switch (type_of(env, value)) {
    case napi_undefined: return "undefined";
    case napi_null: return "null";
    case napi_boolean: return "a boolean";
    case napi_string: return "a string";
    case napi_symbol: return "a symbol";
    case napi_function: return "a function";
    case napi_bigint: return "a bigint";
    default: return "an object";
  }
}

[[noreturn]] void wrong(napi_env env, napi_value value, const char* expected) {
  fail(std::string("expected ") + expected + ", not " + in_words(env, value));
}

bool is_nullish(napi_env env, napi_value value) {
  const auto type = type_of(env, value);
  return type == napi_undefined || type == napi_null;
}

/** Whether an int64_t and a JavaScript number both hold it as it is. */
bool is_integer(double number) { return number == std::trunc(number) && std::fabs(number) <= 9007199254740992.0; }

double to_double(napi_env env, napi_value value) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) wrong(env, value, "a number");
  return number;
}

int64_t to_int(napi_env env, napi_value value) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) {
    int64_t big;
    bool lossless;
    if (napi_get_value_bigint_int64(env, value, &big, &lossless) != napi_ok || !lossless) wrong(env, value, "an integer");
    return big;
  }
  if (!is_integer(number)) wrong(env, value, "an integer");
  return static_cast<int64_t>(number);
}

uint32_t to_handle(napi_env env, napi_value value) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok || !is_integer(number) || number < 0 || number > UINT32_MAX) {
    wrong(env, value, "a tensor");
  }
  return static_cast<uint32_t>(number);
}

bool to_bool(napi_env env, napi_value value) {
  bool flag;
  if (napi_get_value_bool(env, value, &flag) != napi_ok) wrong(env, value, "a boolean");
  return flag;
}

std::string to_string(napi_env env, napi_value value) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) wrong(env, value, "a string");
  std::string text(length, '\0');
  check(env, napi_get_value_string_utf8(env, value, text.data(), length + 1, &length));
  if (text.find('\0') != std::string::npos) fail("expected a string without a NUL character");
  return text;
}

template <class Visit>
void each(napi_env env, napi_value array, const Visit& visit) {
  bool is_array = false;
  check(env, napi_is_array(env, array, &is_array));
  if (!is_array) wrong(env, array, "an array");
  uint32_t length;
  check(env, napi_get_array_length(env, array, &length));
  if (length > kMaxElements) fail("the array is too long");
  for (uint32_t i = 0; i < length; i++) {
    napi_value element;
    check(env, napi_get_element(env, array, i, &element));
    visit(element);
  }
}

template <class List, class Convert>
List to_list(napi_env env, napi_value array, const Convert& convert) {
  List list;
  each(env, array, [&](napi_value v) { list.push_back(convert(v)); });
  return list;
}

std::vector<int64_t> to_ints(napi_env env, napi_value array) {
  return to_list<std::vector<int64_t>>(env, array, [&](napi_value v) { return to_int(env, v); });
}

at::Tensor& to_tensor(Call& call, napi_value value) { return call.context.tensors.get(to_handle(call.env, value)); }

std::vector<at::Tensor> to_tensors(Call& call, napi_value array) {
  return to_list<std::vector<at::Tensor>>(call.env, array, [&](napi_value v) { return to_tensor(call, v); });
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
    const bool integer = is_integer(number) && !(number == 0 && std::signbit(number));
    return integer ? c10::Scalar(static_cast<int64_t>(number)) : c10::Scalar(number);
  }
  if (type_of(env, value) == napi_boolean) return c10::Scalar(to_bool(env, value));
  if (type_of(env, value) != napi_bigint) wrong(env, value, "a number");
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

napi_value from_numbers(napi_env env, at::IntArrayRef values) {
  return from_list(env, values, [&](int64_t n) { return from_number(env, static_cast<double>(n)); });
}

napi_value from_tensor(Call& call, const at::Tensor& tensor) {
  if (!tensor.defined()) {
    napi_value null;
    check(call.env, napi_get_null(call.env, &null));
    return null;
  }
  return from_handle(call.env, call.context.tensors.put(tensor));
}

napi_value from_ivalue(Call& call, const c10::IValue& value) {
  if (value.isTensor()) return from_tensor(call, value.toTensor());
  if (value.isTensorList()) return from_list(call.env, value.toTensorVector(), [&](const at::Tensor& t) { return from_tensor(call, t); });
  if (value.isInt()) return from_number(call.env, static_cast<double>(value.toInt()));
  if (value.isDouble()) return from_number(call.env, value.toDouble());
  if (value.isBool()) return from_bool(call.env, value.toBool());
  if (value.isScalar()) return from_number(call.env, value.toScalar().toDouble());
  if (value.isIntList()) return from_numbers(call.env, value.toIntVector());
  if (value.isString()) return from_string(call.env, value.toStringRef());
  if (value.isNone()) return undefined(call.env);
  fail("result of kind " + value.tagKind() + " has no JavaScript form");
}

}  // namespace
