// Data parallelism in one fixed order: each rank's sum of its micro-batches is exchanged shard by shard, and every shard is added
// up by one rank along a given list of pairs. Bucket by bucket, while the last backward still runs.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/utils/lambda_post_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "group.h"

using tutti::guarded;

namespace {

// Parameters begin at multiples of so many elements: full vectors, and equal shards.
constexpr std::int64_t kAlign = 16;

std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

// A stretch of the flat gradient that travels by itself.
struct Bucket {
  // Where in the flat gradient.
  std::int64_t start = 0;
  at::Tensor grads;
  // (ranks, shard): what the ranks say about this rank's shard. Undefined where there is one rank.
  at::Tensor received;
  std::size_t params = 0;
  std::size_t pending = 0;
  c10::intrusive_ptr<c10d::Work> exchanged;
  c10::intrusive_ptr<c10d::Work> gathered;
};

struct Pair {
  std::uint32_t into;
  std::uint32_t from;
};

class Ordered {
 public:
  Ordered(c10::intrusive_ptr<c10d::ProcessGroup> group, std::vector<at::Tensor> params, std::int64_t bucket_bytes)
      : group_(std::move(group)), params_(std::move(params)) {
    ranks_ = group_ ? group_->getSize() : 1;
    lay_out(bucket_bytes);
    if (ranks_ > 1) {
      watch();
    }
  }

  ~Ordered() {
    for (auto& [accumulator, key] : hooks_) {
      accumulator->del_post_hook(key);
    }
  }

  Ordered(const Ordered&) = delete;
  Ordered& operator=(const Ordered&) = delete;

  const at::Tensor& flat() const {
    return flat_;
  }

  // The next backward ends this rank's part of the step. `saved`: sums of earlier micro-batches, each as long as the flat gradient,
  // in the order in which they are added. `pairs`: which rank's part is added to which; the sum ends in that of rank 0.
  void arm(std::vector<at::Tensor> saved, std::vector<Pair> pairs) {
    const std::lock_guard<std::mutex> lock(mutex_);
    saved_ = std::move(saved);
    pairs_ = std::move(pairs);
    next_ = 0;
    for (auto& bucket : buckets_) {
      bucket.pending = bucket.params;
      bucket.exchanged.reset();
      bucket.gathered.reset();
    }
    armed_ = true;
  }

  // After that backward: what was not sent yet, then the sums of all ranks.
  void finish() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const at::NoGradGuard no_grad;
    armed_ = false;
    while (next_ < buckets_.size()) {
      send();
    }
    saved_.clear();
    if (ranks_ == 1) {
      return;
    }
    for (auto& bucket : buckets_) {
      bucket.exchanged->wait();
      for (const auto& pair : pairs_) {
        auto into = bucket.received[pair.into];
        into.add_(bucket.received[pair.from]);
      }
      auto sum = bucket.received[0];
      bucket.gathered = group_->_allgather_base(bucket.grads, sum);
    }
    for (auto& bucket : buckets_) {
      bucket.gathered->wait();
    }
  }

 private:
  // Gradients of the last parameters come first, and so do they in the flat one.
  void lay_out(std::int64_t bucket_bytes) {
    struct Place {
      std::size_t param;
      std::int64_t offset;
    };
    const auto element = static_cast<std::int64_t>(params_[0].element_size());
    std::vector<Place> places;
    std::vector<std::int64_t> ends;
    std::int64_t offset = 0;
    std::int64_t start = 0;
    const auto close = [&] {
      offset = start + round_up(offset - start, kAlign * ranks_);
      ends.push_back(offset);
      start = offset;
    };
    bucket_of_.resize(params_.size());
    for (std::size_t left = params_.size(); left-- > 0;) {
      if (offset > start && (offset - start + params_[left].numel()) * element > bucket_bytes) {
        close();
      }
      bucket_of_[left] = ends.size();
      places.push_back({left, offset});
      offset += round_up(params_[left].numel(), kAlign);
    }
    close();
    flat_ = at::zeros({offset}, params_[0].options().requires_grad(false));
    start = 0;
    for (const auto end : ends) {
      Bucket bucket;
      bucket.start = start;
      bucket.grads = flat_.narrow(0, start, end - start);
      if (ranks_ > 1) {
        bucket.received = at::zeros({ranks_, (end - start) / ranks_}, flat_.options());
      }
      buckets_.push_back(std::move(bucket));
      start = end;
    }
    for (const auto& place : places) {
      const auto& param = params_[place.param];
      params_[place.param].mutable_grad() = flat_.narrow(0, place.offset, param.numel()).view(param.sizes());
      buckets_[bucket_of_[place.param]].params += 1;
    }
  }

  // Learns from autograd when a parameter's gradient is complete.
  void watch() {
    for (std::size_t param = 0; param < params_.size(); ++param) {
      auto accumulator = torch::autograd::impl::grad_accumulator(params_[param]);
      using torch::autograd::variable_list;
      const auto key = accumulator->add_post_hook(std::make_unique<torch::autograd::utils::LambdaPostHook>(
          [this, param](const variable_list& outputs, const variable_list& /*inputs*/) {
            ready(param);
            return outputs;
          }));
      hooks_.emplace_back(std::move(accumulator), key);
    }
  }

  void ready(std::size_t param) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!armed_) {
      return;
    }
    const at::NoGradGuard no_grad;
    buckets_[bucket_of_[param]].pending -= 1;
    // In one order on all ranks: collectives find each other by it.
    while (next_ < buckets_.size() && buckets_[next_].pending == 0) {
      send();
    }
  }

  void send() {
    auto& bucket = buckets_[next_];
    next_ += 1;
    for (const auto& saved : saved_) {
      bucket.grads.add_(saved.narrow(0, bucket.start, bucket.grads.numel()));
    }
    if (ranks_ > 1) {
      std::vector<std::int64_t> equal;
      bucket.exchanged = group_->alltoall_base(bucket.received, bucket.grads, equal, equal);
    }
  }

  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  std::vector<at::Tensor> params_;
  std::int64_t ranks_ = 1;
  at::Tensor flat_;
  std::vector<Bucket> buckets_;
  std::vector<std::size_t> bucket_of_;
  std::vector<std::pair<std::shared_ptr<torch::autograd::Node>, std::uintptr_t>> hooks_;

  std::mutex mutex_;
  bool armed_ = false;
  std::size_t next_ = 0;
  std::vector<at::Tensor> saved_;
  std::vector<Pair> pairs_;
};

Ordered& ordered_of(void* ordered) {
  return *static_cast<Ordered*>(ordered);
}

}  // namespace

extern "C" {

// `group` is null for a single rank.
int tutti_ordered_new(
    void* group,
    void** params,
    std::size_t count,
    std::int64_t bucket_bytes,
    void** out,
    char** message) {
  return guarded(tutti::Peer, message, [&] {
    std::vector<at::Tensor> tensors;
    for (std::size_t i = 0; i < count; ++i) {
      const auto& tensor = *static_cast<at::Tensor*>(params[i]);
      tutti::need_leaf(tensor, "ordered reduction");
      if (tensor.scalar_type() != static_cast<at::Tensor*>(params[0])->scalar_type() ||
          tensor.device() != static_cast<at::Tensor*>(params[0])->device()) {
        throw tutti::BadArgument{"ordered reduction: parameters of different types or devices"};
      }
      tensors.push_back(tensor);
    }
    c10::intrusive_ptr<c10d::ProcessGroup> inner;
    if (group != nullptr) {
      inner = static_cast<tutti::Group*>(group)->inner;
      c10d::verify_params_across_processes(inner, tensors, std::nullopt);
    }
    *out = new Ordered(std::move(inner), std::move(tensors), bucket_bytes);
  });
}

// A new handle of the flat gradient, which the caller owns.
int tutti_ordered_flat(void* ordered, void** out, char** message) {
  return guarded(tutti::Other, message, [&] { *out = new at::Tensor(ordered_of(ordered).flat()); });
}

// `pairs`: into, from, into, from, …
int tutti_ordered_arm(
    void* ordered,
    void** saved,
    std::size_t saved_count,
    const std::uint32_t* pairs,
    std::size_t pair_count,
    char** message) {
  return guarded(tutti::Other, message, [&] {
    std::vector<at::Tensor> tensors;
    for (std::size_t i = 0; i < saved_count; ++i) {
      tensors.push_back(*static_cast<at::Tensor*>(saved[i]));
    }
    std::vector<Pair> list;
    for (std::size_t i = 0; i < pair_count; ++i) {
      list.push_back({pairs[2 * i], pairs[2 * i + 1]});
    }
    ordered_of(ordered).arm(std::move(tensors), std::move(list));
  });
}

int tutti_ordered_finish(void* ordered, char** message) {
  return guarded(tutti::Peer, message, [&] { ordered_of(ordered).finish(); });
}

void tutti_ordered_free(void* ordered) {
  delete static_cast<Ordered*>(ordered);
}

}  // extern "C"
