// Process groups: c10d's dispatching ProcessGroup, with Gloo for CPU tensors and, where a plugin brought one, another
// backend for CUDA tensors.
#include "group.h"

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <utility>
#include <vector>

namespace tutti {

// Gloo reduces the wrong memory without a word when a tensor is not contiguous.
void need_contiguous(const at::Tensor& tensor, const char* what) {
  if (!tensor.defined()) {
    throw BadArgument{std::string(what) + ": the tensor is undefined"};
  }
  if (!tensor.is_contiguous()) {
    throw BadArgument{std::string(what) + ": the tensor of shape " + c10::str(tensor.sizes()) + " and strides " +
                      c10::str(tensor.strides()) + " is not contiguous; call contiguous() first"};
  }
}

void need_leaf(const at::Tensor& tensor, const char* what) {
  need_contiguous(tensor, what);
  if (!tensor.requires_grad() || !tensor.is_leaf()) {
    throw BadArgument{
        std::string(what) + ": a parameter of shape " + c10::str(tensor.sizes()) +
        " is frozen or computed; give only leaves that require gradients"};
  }
}

}  // namespace tutti

using tutti::Group;
using tutti::guarded;

namespace {

Group& group_of(void* group) {
  return *static_cast<Group*>(group);
}

// Collectives change memory in place: autograd must not watch, and must not refuse leaves that ask for gradients.
at::Tensor plain(void* tensor) {
  return static_cast<at::Tensor*>(tensor)->detach();
}

}  // namespace

extern "C" {

int tutti_group_gloo(
    const void* store,
    int rank,
    int size,
    const char* address,
    std::int64_t timeout_ms,
    void** out,
    char** message) {
  return guarded(tutti::Network, message, [&] {
    const std::chrono::milliseconds timeout(timeout_ms);
    // A clone of its own: its timeout is set here, and it may outlive the caller's handle.
    auto keys = (*static_cast<const c10::intrusive_ptr<c10d::Store>*>(store))->clone();
    keys->setTimeout(timeout);
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(address));
    auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(keys, rank, size, options);
    auto group = c10::make_intrusive<c10d::ProcessGroup>(keys, rank, size);
    group->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
    group->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, gloo);
    *out = new Group{std::move(group)};
  });
}

// Takes `backend` (a heap c10::intrusive_ptr<c10d::Backend>) over.
int tutti_group_attach_cuda(void* group, void* backend, char** message) {
  return guarded(tutti::Other, message, [&] {
    auto* owned = static_cast<c10::intrusive_ptr<c10d::Backend>*>(backend);
    c10::intrusive_ptr<c10d::Backend> moved = std::move(*owned);
    delete owned;
    group_of(group).inner->setBackend(c10::DeviceType::CUDA, c10d::ProcessGroup::BackendType::NCCL, moved);
  });
}

void tutti_group_free(void* group) {
  delete static_cast<Group*>(group);
}

int tutti_group_all_reduce(void* group, void* tensor, bool average, char** message) {
  return guarded(tutti::Peer, message, [&] {
    std::vector<at::Tensor> tensors{plain(tensor)};
    tutti::need_contiguous(tensors[0], "all_reduce");
    c10d::AllreduceOptions options;
    options.reduceOp = average ? c10d::ReduceOp::AVG : c10d::ReduceOp::SUM;
    group_of(group).inner->allreduce(tensors, options)->wait();
  });
}

int tutti_group_broadcast(void* group, void* tensor, int root, char** message) {
  return guarded(tutti::Peer, message, [&] {
    std::vector<at::Tensor> tensors{plain(tensor)};
    tutti::need_contiguous(tensors[0], "broadcast");
    c10d::BroadcastOptions options;
    options.rootRank = root;
    group_of(group).inner->broadcast(tensors, options)->wait();
  });
}

// `outputs` holds one tensor per rank, all of the input's shape.
int tutti_group_all_gather(void* group, void* input, void** outputs, std::size_t count, char** message) {
  return guarded(tutti::Peer, message, [&] {
    std::vector<at::Tensor> inputs{plain(input)};
    tutti::need_contiguous(inputs[0], "all_gather");
    std::vector<std::vector<at::Tensor>> lists(1);
    for (std::size_t rank = 0; rank < count; ++rank) {
      lists[0].push_back(plain(outputs[rank]));
      tutti::need_contiguous(lists[0].back(), "all_gather");
    }
    group_of(group).inner->allgather(lists, inputs)->wait();
  });
}

int tutti_group_barrier(void* group, char** message) {
  return guarded(tutti::Peer, message, [&] {
    c10d::BarrierOptions options;
    options.device = at::Device(at::kCPU);
    group_of(group).inner->barrier(options)->wait();
  });
}

}  // extern "C"
