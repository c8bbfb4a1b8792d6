#pragma once

#include <string>
#include <string_view>

#include "cli/report/sink.h"

namespace flurry {

// Keeps what a reporter prints.
class StringSink : public Sink {
 public:
  void write(std::string_view text) override { text_ += text; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace flurry
