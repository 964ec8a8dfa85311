// Data parallelism: c10d's Reducer, which averages gradients bucket by bucket while backward still runs.
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "group.h"

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

int tutti_reducer_new(
    void* group,
    void** params,
    std::size_t count,
    std::int64_t first_bucket_bytes,
    std::int64_t bucket_bytes,
    void** out,
    char** message) {
  return guarded(tutti::Peer, message, [&] {
    auto tensors = tensors_of(params, count);
    for (const auto& tensor : tensors) {
      tutti::need_leaf(tensor, "reducer");
    }
    const auto& inner = static_cast<tutti::Group*>(group)->inner;
    c10d::verify_params_across_processes(inner, tensors, std::nullopt);
    const std::vector<bool> sparse(count, false);
    auto assigned = c10d::compute_bucket_assignment_by_size(
        tensors, {static_cast<std::size_t>(first_bucket_bytes), static_cast<std::size_t>(bucket_bytes)}, sparse);
    auto buckets = std::move(std::get<0>(assigned));
    // Gradients appear last layer first: so do the buckets.
    std::vector<std::vector<std::size_t>> reversed(buckets.rbegin(), buckets.rend());
    auto reducer = std::make_unique<c10d::Reducer>(
        std::move(tensors),
        std::move(reversed),
        inner,
        sparse,
        bucket_bytes,
        /*find_unused_parameters=*/false,
        /*gradient_as_bucket_view=*/true,
        std::unordered_map<std::size_t, std::string>{},
        first_bucket_bytes,
        /*skip_all_reduce_unused_params=*/false,
        /*use_python_reducer=*/false,
        std::vector<std::int64_t>{});
    *out = reducer.release();
  });
}

// The next backward averages gradients over the group.
int tutti_reducer_prepare(void* reducer, char** message) {
  return guarded(tutti::Peer, message, [&] {
    auto& inner = *static_cast<c10d::Reducer*>(reducer);
    // Rebuilds once; always checks that the backward before has reached every parameter.
    inner.rebuild_buckets();
    inner.prepare_for_forward();
    inner.prepare_for_backward({});
  });
}

// Moves parameters between buckets in the order in which the first backward reached them.
int tutti_reducer_settle(void* reducer, char** message) {
  return guarded(tutti::Peer, message, [&] {
    static_cast<c10d::Reducer*>(reducer)->rebuild_buckets();
  });
}

void tutti_reducer_free(void* reducer) {
  try {
    delete static_cast<c10d::Reducer*>(reducer);
  } catch (...) {
    // Its destructor may throw; there is nobody left to tell.
  }
}

}  // extern "C"
