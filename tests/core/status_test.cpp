#include "core/status.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace fmtc {
namespace {

TEST(Status, EveryStatusHasItsOwnMessage) {
  std::set<std::string> messages;
  const int last = static_cast<int>(Status::kOverLimit);
  for (int i = 0; i <= last; ++i) messages.insert(message(static_cast<Status>(i)));
  EXPECT_EQ(messages.size(), static_cast<size_t>(last + 1));
  EXPECT_EQ(messages.count("unknown status"), 0u);
}

TEST(Status, UnknownNumbersHaveAMessageToo) {
  EXPECT_STREQ(message(static_cast<Status>(-1)), "unknown status");
  EXPECT_STREQ(message(static_cast<Status>(1000)), "unknown status");
}

}  // namespace
}  // namespace fmtc
