#pragma once
// One boxed call for every operator: arguments are read by the operator's own schema.

#include <sstream>

#include "shared-memory.h"

namespace {

c10::TypePtr without_optional(const c10::TypePtr& type) {
  const auto optional = type->cast<c10::OptionalType>();
  return optional ? optional->getElementType() : type;
}

Argument describe(const c10::Argument& argument) {
  const auto type = without_optional(argument.type());
  const auto list = type->cast<c10::ListType>();
  Argument result{(list ? list->getElementType() : type)->kind(), list != nullptr, argument.type() != type, argument.N().value_or(-1)};
  const auto real = without_optional(argument.real_type())->kind();  // tells an enumeration from an integer
  if (real == c10::TypeKind::ScalarTypeType || real == c10::TypeKind::LayoutType || real == c10::TypeKind::MemoryFormatType) result.kind = real;
  return result;
}

c10::IValue to_ivalue_list(Call& call, const Argument& argument, napi_value value) {
  napi_env env = call.env;
  switch (argument.kind) {
    case c10::TypeKind::TensorType: return to_tensors(call, value);
    case c10::TypeKind::OptionalType:
      return to_list<c10::List<std::optional<at::Tensor>>>(
          env, value, [&](napi_value v) { return is_nullish(env, v) ? std::nullopt : std::optional(to_tensor(call, v)); });
    case c10::TypeKind::IntType: {
      double number;
      const bool spread = argument.fixed > 0 && napi_get_value_double(env, value, &number) == napi_ok;
      return spread ? std::vector<int64_t>(argument.fixed, to_int(env, value)) : to_ints(env, value);
    }
    case c10::TypeKind::FloatType: return to_list<std::vector<double>>(env, value, [&](napi_value v) { return to_double(env, v); });
    case c10::TypeKind::BoolType: return to_list<c10::List<bool>>(env, value, [&](napi_value v) { return to_bool(env, v); });
    default: fail("an argument of this type is not supported");
  }
}

c10::IValue to_ivalue(Call& call, const Argument& argument, napi_value value) {
  napi_env env = call.env;
  if (argument.optional && is_nullish(env, value)) return c10::IValue();
  if (argument.list) return to_ivalue_list(call, argument, value);
  switch (argument.kind) {
    case c10::TypeKind::TensorType: return to_tensor(call, value);
    case c10::TypeKind::IntType: return to_int(env, value);
    case c10::TypeKind::FloatType: return to_double(env, value);
    case c10::TypeKind::BoolType: return to_bool(env, value);
    case c10::TypeKind::NumberType: return to_scalar(env, value);
    case c10::TypeKind::StringType: return to_string(env, value);
    case c10::TypeKind::AnyType: return to_string(env, value);  // of collectives: a reduction and a process group by name
    case c10::TypeKind::DeviceObjType: return c10::Device(to_string(env, value));
    case c10::TypeKind::GeneratorType: return call.context.generators.get(to_handle(env, value));
    case c10::TypeKind::ScalarTypeType: return static_cast<int64_t>(to_dtype(env, value));
    case c10::TypeKind::LayoutType: return to_code(env, value, "layout", [](int64_t code) { return code == 0; });
    case c10::TypeKind::MemoryFormatType: return to_code(env, value, "memory format", [](int64_t code) { return code >= 0 && code <= 3; });
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
  Operator entry{*handle, overload.empty() ? name : key, {}, false, name == "aten::set_" || name == "aten::set_data", 0};
  if (schema.arguments().size() >= kMaxArguments) fail(key + " has too many arguments");
  for (const auto& argument : schema.arguments()) {
    if (argument.alias_info() && argument.alias_info()->isWrite()) entry.written |= 1u << entry.arguments.size();
    entry.arguments.push_back(describe(argument));
  }
  const auto& returns = schema.returns();
  entry.in_place = returns.size() == 1 && returns[0].alias_info() && returns[0].alias_info()->isWrite() && !schema.arguments().empty() &&
                   schema.arguments()[0].alias_info() && schema.arguments()[0].alias_info()->isWrite();
  context.operators.push_back(std::move(entry));
  const auto index = static_cast<uint32_t>(context.operators.size() - 1);
  context.operator_index.emplace(key, index);
  return from_handle(call.env, index);
}

/**
 * Shapes of the tensors that a call writes to, to be given back when it fails. libtorch sets a tensor's new size before it looks for the
 * memory: where there is none, or it cannot be replaced, the tensor would reach beyond what it has.
 */
class WrittenShapes {
 public:
  WrittenShapes(const Operator& entry, const std::vector<c10::IValue>& arguments) {
    for (size_t i = 0; entry.written >> i; i++) {
      if (!(entry.written >> i & 1)) continue;
      if (arguments[i].isTensor()) add(arguments[i].toTensor());
      else if (arguments[i].isTensorList()) for (const at::Tensor& each : arguments[i].toTensorVector()) add(each);
    }
  }

  void restore() {
    for (const auto& [tensor, sizes, strides, offset] : shapes_) {
      if (tensor.sizes() != sizes || tensor.strides() != strides || tensor.storage_offset() != offset) {
        tensor.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides, offset);
      }
    }
  }

 private:
  struct Shape {
    at::Tensor tensor;
    at::DimVector sizes, strides;
    int64_t offset;
  };

  void add(const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.has_storage() || tensor.layout() != at::kStrided || tensor.is_nested()) return;
    shapes_.push_back({tensor, at::DimVector(tensor.sizes()), at::DimVector(tensor.strides()), tensor.storage_offset()});
  }

  c10::SmallVector<Shape, 1> shapes_;
};

/** call(index, ...arguments) → handle, array of handles, number, or undefined for an operator that works in place. */
napi_value call_operator(Call& call) {
  napi_env env = call.env;
  uint32_t index;
  if (napi_get_value_uint32(env, call.values[0], &index) != napi_ok || index >= call.context.operators.size()) {
    fail("expected an operator");
  }
  // A reference: operators stand in a deque, which does not move them when it grows.
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
  // From here to the operator's end no JavaScript runs.
  WrittenShapes shapes_before(entry, stack);
  try {
    BorrowedArray::check(call.context, stack);
    if (entry.replaces_memory) check_replaceable(stack[0].toTensor());
    entry.handle.callBoxed(stack);
  } catch (const std::exception& error) {
    shapes_before.restore();
    const std::string shapes = arguments_text(stack);
    std::string text = reason(error);
    if (text.find("storage that is not resizable") != std::string::npos) text += ": an ArrayBuffer or a file shares its memory";
    fail(entry.name + (shapes.empty() ? "" : "(" + shapes + ")") + ": " + text);
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

}  // namespace
