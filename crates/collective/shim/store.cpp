// A c10d::Store whose keys live wherever Rust keeps them.
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <utility>
#include <vector>

#include "shim.h"

namespace {

// Takes a copy of bytes that belong to the other side.
using Sink = void (*)(void* context, const std::uint8_t* bytes, std::size_t size);

struct Text {
  const char* bytes;
  std::size_t size;
};

// Mirrored by `Callbacks` in src/store.rs. Every call returns 0, or 1 after it has given a message to the last sink.
struct Callbacks {
  int (*set)(void* data, Text key, const std::uint8_t* value, std::size_t size, Sink fail, void* context);
  int (*get)(void* data, Text key, std::int64_t timeout_ms, Sink take, void* taken, Sink fail, void* context);
  int (*add)(void* data, Text key, std::int64_t amount, std::int64_t* sum, Sink fail, void* context);
  int (*remove)(void* data, Text key, bool* existed, Sink fail, void* context);
  int (*check)(void* data, const Text* keys, std::size_t count, bool* all, Sink fail, void* context);
  int (*count)(void* data, std::int64_t* keys, Sink fail, void* context);
  int (*wait)(void* data, const Text* keys, std::size_t count, std::int64_t timeout_ms, Sink fail, void* context);
  void* (*share)(void* data);
  void (*drop)(void* data);
};

void take_bytes(void* context, const std::uint8_t* bytes, std::size_t size) {
  static_cast<std::vector<std::uint8_t>*>(context)->assign(bytes, bytes + size);
}

void take_text(void* context, const std::uint8_t* bytes, std::size_t size) {
  static_cast<std::string*>(context)->assign(reinterpret_cast<const char*>(bytes), size);
}

Text text(const std::string& key) {
  return {key.data(), key.size()};
}

std::vector<Text> texts(const std::vector<std::string>& keys) {
  std::vector<Text> out;
  out.reserve(keys.size());
  for (const auto& key : keys) {
    out.push_back(text(key));
  }
  return out;
}

class CallbackStore : public c10d::Store {
 public:
  CallbackStore(const Callbacks& calls, void* data, std::chrono::milliseconds timeout)
      : c10d::Store(timeout), calls_(calls), data_(data) {}

  CallbackStore(const CallbackStore&) = delete;
  CallbackStore& operator=(const CallbackStore&) = delete;

  ~CallbackStore() override {
    calls_.drop(data_);
  }

  c10::intrusive_ptr<c10d::Store> clone() override {
    return c10::make_intrusive<CallbackStore>(calls_, calls_.share(data_), timeout_);
  }

  using c10d::Store::set;
  void set(const std::string& key, const std::vector<std::uint8_t>& value) override {
    std::string why;
    ensure(calls_.set(data_, text(key), value.data(), value.size(), take_text, &why), why);
  }

  std::vector<std::uint8_t> get(const std::string& key) override {
    std::vector<std::uint8_t> value;
    std::string why;
    ensure(calls_.get(data_, text(key), timeout_.count(), take_bytes, &value, take_text, &why), why);
    return value;
  }

  std::int64_t add(const std::string& key, std::int64_t amount) override {
    std::int64_t sum = 0;
    std::string why;
    ensure(calls_.add(data_, text(key), amount, &sum, take_text, &why), why);
    return sum;
  }

  bool deleteKey(const std::string& key) override {
    bool existed = false;
    std::string why;
    ensure(calls_.remove(data_, text(key), &existed, take_text, &why), why);
    return existed;
  }

  bool check(const std::vector<std::string>& keys) override {
    bool all = false;
    std::string why;
    const auto list = texts(keys);
    ensure(calls_.check(data_, list.data(), list.size(), &all, take_text, &why), why);
    return all;
  }

  std::int64_t getNumKeys() override {
    std::int64_t keys = 0;
    std::string why;
    ensure(calls_.count(data_, &keys, take_text, &why), why);
    return keys;
  }

  void wait(const std::vector<std::string>& keys) override {
    wait(keys, timeout_);
  }

  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) override {
    std::string why;
    const auto list = texts(keys);
    ensure(calls_.wait(data_, list.data(), list.size(), timeout.count(), take_text, &why), why);
  }

 private:
  static void ensure(int code, const std::string& why) {
    if (code != 0) {
      C10_THROW_ERROR(DistStoreError, why);
    }
  }

  Callbacks calls_;
  void* data_;
};

using Handle = c10::intrusive_ptr<c10d::Store>;

}  // namespace

extern "C" {

void tutti_free_text(char* text) {
  std::free(text);
}

// Takes `data` over, also when it fails.
int tutti_store_new(const Callbacks* calls, void* data, std::int64_t timeout_ms, void** out, char** message) {
  return tutti::guarded(tutti::Other, message, [&] {
    Handle store = c10::make_intrusive<CallbackStore>(*calls, data, std::chrono::milliseconds(timeout_ms));
    *out = new Handle(std::move(store));
  });
}

int tutti_store_prefixed(const void* store, const char* prefix, void** out, char** message) {
  return tutti::guarded(tutti::Other, message, [&] {
    Handle inner = (*static_cast<const Handle*>(store))->clone();
    Handle prefixed = c10::make_intrusive<c10d::PrefixStore>(std::string(prefix), std::move(inner));
    *out = new Handle(std::move(prefixed));
  });
}

void tutti_store_free(void* store) {
  delete static_cast<Handle*>(store);
}

}  // extern "C"
