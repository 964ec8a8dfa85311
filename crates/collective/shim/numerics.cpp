// The parts of libtorch that tch lacks: fused optimizers, generator state, determinism, autocast.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <c10/core/GradMode.h>

#include <mutex>
#include <vector>

#include "shim.h"

using tutti::guarded;

namespace {

std::vector<at::Tensor> tensors_of(void** tensors, std::size_t count) {
  std::vector<at::Tensor> out;
  out.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    out.push_back(*static_cast<at::Tensor*>(tensors[i]));
  }
  return out;
}

}  // namespace

extern "C" {

// Mirrored by `RawAdam` in src/adam.rs.
struct Adam {
  void** params;
  void** grads;
  void** exp_avgs;
  void** exp_avg_sqs;
  std::size_t count;
  double step;
  double lr;
  double beta1;
  double beta2;
  double eps;
  double weight_decay;
  bool decoupled;
};

int tutti_fused_adam(const Adam* adam, char** message) {
  return guarded(tutti::Other, message, [&] {
    if (adam->count == 0) {
      return;
    }
    const c10::AutoGradMode off(false);
    const auto params = tensors_of(adam->params, adam->count);
    const auto grads = tensors_of(adam->grads, adam->count);
    const auto exp_avgs = tensors_of(adam->exp_avgs, adam->count);
    const auto exp_avg_sqs = tensors_of(adam->exp_avg_sqs, adam->count);
    // All parameters of a call are at the same step, so they share one counter; the kernels only read it.
    const auto step = at::full({}, adam->step, params[0].options().dtype(at::kFloat).requires_grad(false));
    const std::vector<at::Tensor> steps(adam->count, step);
    if (adam->decoupled) {
      at::_fused_adamw_(
          params, grads, exp_avgs, exp_avg_sqs, {}, steps, adam->lr, adam->beta1, adam->beta2, adam->weight_decay,
          adam->eps, false, false);
    } else {
      at::_fused_adam_(
          params, grads, exp_avgs, exp_avg_sqs, {}, steps, adam->lr, adam->beta1, adam->beta2, adam->weight_decay,
          adam->eps, false, false);
    }
  });
}

// at::manual_seed would ask whether there is CUDA, which is wrong before the plugin is loaded: so each generator by itself.
int tutti_seed_cpu(std::uint64_t seed, char** message) {
  return guarded(tutti::Other, message, [&] {
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_current_seed(seed);
  });
}

int tutti_seed_cuda(std::uint64_t seed, char** message) {
  return guarded(tutti::Other, message, [&] {
    const auto count = at::detail::getCUDAHooks().deviceCount();
    for (int index = 0; index < count; ++index) {
      auto generator = at::globalContext().defaultGenerator(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index)));
      const std::lock_guard<std::mutex> lock(generator.mutex());
      generator.set_current_seed(seed);
    }
  });
}

int tutti_cuda_device_count(std::int64_t* count, char** message) {
  return guarded(tutti::Other, message, [&] { *count = at::detail::getCUDAHooks().deviceCount(); });
}

// `state` is a heap at::Tensor (uint8), owned by the caller.
int tutti_cpu_state(void** state, char** message) {
  return guarded(tutti::Other, message, [&] {
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    const std::lock_guard<std::mutex> lock(generator.mutex());
    *state = new at::Tensor(generator.get_state());
  });
}

int tutti_set_cpu_state(void* state, char** message) {
  return guarded(tutti::Other, message, [&] {
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(*static_cast<at::Tensor*>(state));
  });
}

int tutti_deterministic(bool on, char** message) {
  return guarded(tutti::Other, message, [&] {
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(on, /*warn_only=*/false);
    context.setDeterministicCuDNN(on);
    context.setBenchmarkCuDNN(false);
    // Filling new memory with NaN finds bugs in libtorch, not in us, and costs time.
    context.setDeterministicFillUninitializedMemory(false);
  });
}

int tutti_allow_tf32(bool on, char** message) {
  return guarded(tutti::Other, message, [&] {
    at::globalContext().setAllowTF32CuBLAS(on);
    at::globalContext().setAllowTF32CuDNN(on);
  });
}

// Mirrored by `RawAutocast` in src/autocast.rs: what was set before, to be put back.
struct Autocast {
  bool enabled;
  int dtype;
};

int tutti_autocast_enter(bool cuda, int dtype, Autocast* before, char** message) {
  return guarded(tutti::Other, message, [&] {
    const auto device = cuda ? at::kCUDA : at::kCPU;
    before->enabled = at::autocast::is_autocast_enabled(device);
    before->dtype = static_cast<int>(at::autocast::get_autocast_dtype(device));
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(dtype));
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::increment_nesting();
    // Weights converted to another type under an outer guard must not be found here.
    at::autocast::clear_cache();
  });
}

int tutti_autocast_leave(bool cuda, const Autocast* before, char** message) {
  return guarded(tutti::Other, message, [&] {
    const auto device = cuda ? at::kCUDA : at::kCPU;
    at::autocast::decrement_nesting();
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device, before->enabled);
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(before->dtype));
  });
}

}  // extern "C"
