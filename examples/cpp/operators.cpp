// A torch operator of libfmtc_ops from C++: the library registers them where it is linked or
// loaded.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <iostream>
#include <tuple>

int main() {
  const auto quantize =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("fmtc::quantize", "")
          .typed<std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, double, int64_t, int64_t)>();
  const at::Tensor y = at::linspace(-1, 1, 5);
  const auto [levels, clamped] = quantize.call(y, /*step=*/0.25, /*lo=*/-3, /*hi=*/3);
  for (int64_t i = 0; i < levels.numel(); ++i) std::cout << levels[i].item<int16_t>() << ' ';
  std::cout << "clamped " << clamped.item<int64_t>() << '\n';
}
