#include "infer/http_server.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <httplib.h>
#include <pthread.h>
#include <sys/socket.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <map>
#include <mutex>
#include <thread>

#include "codec/error.h"
#include "codec/npy.h"
#include "infer/accepted.h"
#include "infer/image.h"

namespace fmtc::infer {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr int kSpareThreads = 4;  // for /health and /metrics, and those that are sent away

// A request that is answered by an error.
struct Refused {
  int status;
  std::string sentence;
};

// How many requests there are; one of them is computed.
class Gate {
 public:
  explicit Gate(int64_t places) : places_(places) {}

  bool enter() {
    const std::lock_guard lock(mutex_);
    if (present_ == places_) return false;
    ++present_;
    return true;
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    --present_;
  }
  int64_t present() const {
    const std::lock_guard lock(mutex_);
    return present_;
  }
  std::mutex computing;

 private:
  mutable std::mutex mutex_;
  int64_t places_, present_ = 0;
};

class Service {
 public:
  Service(Tail& tail, const ServeOptions& options)
      : tail_(tail), options_(options), gate_(options.waiting + 1) {}

  void infer(const httplib::Request& request, httplib::Response& response) {
    try {
      answer(request, response);
    } catch (const Refused& refused) {
      response.status = refused.status;
      response.set_content(json{{"error", refused.sentence}}.dump(), kJson);
      if (refused.status == 503) response.set_header("Retry-After", "1");
    }
    const std::lock_guard lock(mutex_);
    ++requests_[response.status == -1 ? 200 : response.status];
    received_ += request.body.size();
  }

  std::string health() const {
    const SplitDescription& of = tail_.description();
    json at = json::array(), outputs = json::array();
    for (const auto& tensor : of.tensors) at.push_back(tensor.name);
    for (const auto& output : of.named_outputs) outputs.push_back(output.name);
    return json{{"status", "ok"},
                {"network", of.network},
                {"at", at},
                {"input_shape", of.input_shape},
                {"outputs", outputs},
                {"limits",
                 {{"max_body", options_.max_body},
                  {"max_images", options_.max_images},
                  {"waiting", options_.waiting}}}}
        .dump();
  }

  std::string metrics() const {
    const std::lock_guard lock(mutex_);
    std::string text = "# TYPE fmtc_requests_total counter\n";
    for (const auto& [status, count] : requests_) {
      text += "fmtc_requests_total{status=\"" + std::to_string(status) + "\"} " +
              std::to_string(count) + "\n";
    }
    const auto add = [&](const char* kind, const char* name, auto value) {
      text += std::string("# TYPE ") + name + " " + kind + "\n" + name + " " +
              std::to_string(value) + "\n";
    };
    add("counter", "fmtc_received_bytes_total", received_);
    add("counter", "fmtc_images_total", images_);
    add("counter", "fmtc_tail_seconds_sum", seconds_);
    add("counter", "fmtc_tail_seconds_count", computed_);
    add("gauge", "fmtc_present_requests", gate_.present());
    return text;
  }

 private:
  void answer(const httplib::Request& request, httplib::Response& response) {
    const std::string kind = wanted(request);
    check_size(request);
    const size_t output = output_of(request, kind);
    if (!gate_.enter()) {
      throw Refused{503, "as many requests as may are being worked on: try again later"};
    }
    std::vector<at::Tensor> outputs;
    try {
      outputs = computed(request.body);
    } catch (...) {
      gate_.leave();
      throw;
    }
    gate_.leave();
    if (kind == kNpy) {
      const std::vector<uint8_t> file = npy(outputs[output]);
      response.set_content(std::string(file.begin(), file.end()), kNpy);
    } else {
      response.set_content(as_json(outputs, request.has_param("output"), output), kJson);
    }
  }

  std::string wanted(const httplib::Request& request) const {
    const std::string kind = accepted(request.get_header_value("Accept"));
    if (!kind.empty()) return kind;
    throw Refused{
        406, std::string("the answer can be ") + kJson + " or " + kNpy + ": name one in Accept"};
  }

  void check_size(const httplib::Request& request) const {
    const std::vector<int64_t>& shape = tail_.description().input_shape;
    std::string own;
    for (size_t i = 1; i < shape.size(); ++i) own += (i > 1 ? "x" : "") + std::to_string(shape[i]);
    const std::string asked = request.get_param_value("size");
    if (asked.empty() || asked == own) return;
    throw Refused{422, "images of size '" + codec::printable(asked) +
                           "' are not served, but those of " + own +
                           "; export the network for others"};
  }

  size_t output_of(const httplib::Request& request, const std::string& kind) const {
    const auto& outputs = tail_.description().named_outputs;
    std::string names;
    for (const auto& output : outputs) names += (names.empty() ? "" : ", ") + output.name;
    if (!request.has_param("output")) {
      if (kind == kJson || outputs.size() == 1) return 0;
      throw Refused{406, "a .npy holds one tensor, and there are " + names +
                             ": name one with ?output=, or accept " + kJson};
    }
    const std::string asked = request.get_param_value("output");
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i].name == asked) return i;
    }
    throw Refused{422, "there is no output '" + codec::printable(asked) + "'; there are: " + names};
  }

  std::vector<at::Tensor> computed(const std::string& body) {
    at::init_num_threads();  // as many for this thread as --threads said to the first
    const std::lock_guard alone(gate_.computing);
    const auto began = Clock::now();
    const std::span bundle(reinterpret_cast<const uint8_t*>(body.data()), body.size());
    try {
      std::vector<at::Tensor> outputs = tail_.run(bundle, options_.max_images);
      const std::lock_guard lock(mutex_);
      images_ += outputs.front().size(0);
      seconds_ += std::chrono::duration<double>(Clock::now() - began).count();
      ++computed_;
      return outputs;
    } catch (const Unusable& error) {
      const std::string what = error.what();
      switch (error.why) {
        case Unusable::Why::kTooMany:
          throw Refused{413, what};
        case Unusable::Why::kDamaged:
          throw Refused{
              400, "the bytes are damaged or no bundle of fmtc: " + what + "; send them again"};
        default:
          throw Refused{422, what +
                                 "; head and tail must be of the same file of fmtc.split, and "
                                 "images of the size that is served"};
      }
    }
  }

  static std::vector<uint8_t> npy(const at::Tensor& output) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(output.const_data_ptr<float>());
    return codec::make_npy(
        {"F32", output.sizes().vec(), {bytes, bytes + static_cast<size_t>(output.nbytes())}});
  }

  std::string as_json(const std::vector<at::Tensor>& outputs, bool one, size_t which) const {
    json made = json::object();
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (one && i != which) continue;
      const float* values = outputs[i].const_data_ptr<float>();
      made[tail_.description().named_outputs[i].name] = {
          {"shape", outputs[i].sizes().vec()}, {"values", nested(outputs[i].sizes(), values)}};
    }
    return json{{"images", outputs.front().size(0)}, {"outputs", made}}.dump();
  }

  // Lists within each other; `values` is moved behind what was taken.
  static json nested(at::IntArrayRef shape, const float*& values) {
    json list = json::array();
    for (int64_t i = 0; i < shape.front(); ++i) {
      list.push_back(shape.size() == 1 ? json(*values++) : nested(shape.slice(1), values));
    }
    return list;
  }

  Tail& tail_;
  const ServeOptions& options_;
  Gate gate_;
  mutable std::mutex mutex_;
  std::map<int, int64_t> requests_;  // by status
  int64_t images_ = 0, computed_ = 0;
  uint64_t received_ = 0;
  double seconds_ = 0;
};

// Of what the library refuses before it is a request of ours.
void say_why(const httplib::Request&, httplib::Response& response, uint64_t max_body) {
  if (!response.body.empty()) return;
  std::string sentence = "this is not served: POST /infer, GET /health, GET /metrics";
  if (response.status == 413) {
    sentence = "the body has more than " + std::to_string(max_body) +
               " bytes: send fewer images at a time, or serve with a larger --max-body";
  } else if (response.status == 400) {
    sentence = "the request did not arrive whole: send it again";
  }
  response.set_content(json{{"error", sentence}}.dump(), kJson);
}

// Nobody else may listen at the same port, which the library's own options (SO_REUSEPORT) allow.
void set_socket_options(socket_t socket) {
  const int yes = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
}

// A request that names no length has no body, and the library would wait for one until its time is
// up.
httplib::Server::HandlerResponse answer_without_body(Service& service,
                                                     const httplib::Request& request,
                                                     httplib::Response& response) {
  using Answer = httplib::Server::HandlerResponse;
  const bool reads = request.method != "GET" && request.method != "HEAD";
  const bool body = request.has_header("Content-Length") || request.has_header("Transfer-Encoding");
  if (!reads || body) return Answer::Unhandled;
  if (request.method == "POST" && request.path == "/infer") {
    service.infer(request, response);
  } else {
    response.status = 404;
  }
  return Answer::Handled;
}

void set_up(httplib::Server& server, Service& service, const ServeOptions& options) {
  const size_t threads = static_cast<size_t>(options.waiting) + 1 + kSpareThreads;
  server.new_task_queue = [threads] { return new httplib::ThreadPool(threads); };
  server.set_tcp_nodelay(true);
  server.set_socket_options(set_socket_options);
  server.set_payload_max_length(options.max_body);
  server.set_read_timeout(options.seconds, 0);
  server.set_error_handler(
      [&options](const httplib::Request& request, httplib::Response& response) {
        say_why(request, response, options.max_body);
      });
  server.set_exception_handler(
      [](const httplib::Request&, httplib::Response& response, const std::exception_ptr& thrown) {
        try {
          std::rethrow_exception(thrown);
        } catch (const std::exception& error) {
          std::fprintf(stderr, "fmtc_infer: %s\n", codec::printable(error.what()).c_str());
        }
        response.status = 500;
        response.set_content(R"({"error": "the service failed; its log says why"})", kJson);
      });
  server.set_pre_routing_handler(
      [&service](const httplib::Request& request, httplib::Response& response) {
        return answer_without_body(service, request, response);
      });
  server.Post("/infer", [&service](const httplib::Request& request, httplib::Response& response) {
    service.infer(request, response);
  });
  server.Get("/health", [&service](const httplib::Request&, httplib::Response& response) {
    response.set_content(service.health(), kJson);
  });
  server.Get("/metrics", [&service](const httplib::Request&, httplib::Response& response) {
    response.set_content(service.metrics(), "text/plain; version=0.0.4");
  });
}

}  // namespace

void serve(Tail& tail, const ServeOptions& options,
           const std::function<void(const std::string&)>& ready) {
  // Before any thread is made, so that all leave the signals to the one that waits for them.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  Service service(tail, options);
  httplib::Server server;
  set_up(server, service, options);
  const int port = options.port == 0 ? server.bind_to_any_port(options.host)
                   : server.bind_to_port(options.host, options.port) ? options.port
                                                                     : -1;
  if (port < 0) {
    throw Error("no service can be had at " + options.host + ", port " +
                std::to_string(options.port) + ": it is taken, or not of this machine");
  }
  std::thread stopping([&] {
    int signal = 0;
    sigwait(&signals, &signal);
    server.stop();
  });
  ready("http://" + options.host + ":" + std::to_string(port));
  server.listen_after_bind();
  pthread_kill(stopping.native_handle(), SIGUSR1);  // where it ended for another reason
  stopping.join();
}

}  // namespace fmtc::infer
