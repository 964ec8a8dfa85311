// The NCCL backend of a process group, in a library of its own: it is linked against the CUDA part of libtorch, so that the
// program itself need not be, and loading it is what brings CUDA into the process.
#include <c10/cuda/CUDAFunctions.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <torch/version.h>

#include <utility>

#include "shim.h"

// Raised whenever a function below changes.
#define TUTTI_NCCL_INTERFACE "1"

extern "C" {

// What the caller compares before it calls anything else: libtorch's version and the version of these functions.
const char* tutti_nccl_made_for() {
  return TORCH_VERSION "/" TUTTI_NCCL_INTERFACE;
}

void tutti_nccl_free_text(char* text) {
  std::free(text);
}

int tutti_nccl_device_count() {
  return c10::cuda::device_count();
}

// Gives a heap c10::intrusive_ptr<c10d::Backend> to the caller. `store` is a c10::intrusive_ptr<c10d::Store> of the caller.
int tutti_nccl_backend(
    const void* store,
    int rank,
    int size,
    int device,
    std::int64_t timeout_ms,
    void** out,
    char** message) {
  return tutti::guarded(tutti::Backend, message, [&] {
    const auto count = c10::cuda::device_count();
    if (count > 0 && (device < 0 || device >= count)) {
      throw tutti::BadArgument{
          "CUDA device " + std::to_string(device) + " of " + std::to_string(count) + " (they are numbered from 0)"};
    }
    auto keys = (*static_cast<const c10::intrusive_ptr<c10d::Store>*>(store))->clone();
    const std::chrono::milliseconds timeout(timeout_ms);
    keys->setTimeout(timeout);
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = timeout;
    if (count > 0) {
      // One rank, one device: collectives without a tensor (and NCCL's own threads) must pick this one.
      c10::cuda::set_device(static_cast<c10::DeviceIndex>(device));
    }
    // Without a device this throws "no GPUs found".
    auto nccl = c10::make_intrusive<c10d::ProcessGroupNCCL>(std::move(keys), rank, size, std::move(options));
    const at::Device bound(at::kCUDA, static_cast<c10::DeviceIndex>(device));
    nccl->setBoundDeviceId(bound);
    nccl->setSequenceNumberForGroup();
    nccl->eagerConnectSingleDevice(bound);
    *out = new c10::intrusive_ptr<c10d::Backend>(std::move(nccl));
  });
}

}  // extern "C"
