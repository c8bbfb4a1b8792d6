#include "cli/options.h"

#include <algorithm>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <charconv>
#include <system_error>

#include "cli/help.h"
#include "core/spelling.h"

namespace flurry {
namespace {

namespace po = boost::program_options;

// As for confirmTimeout in the flake.
constexpr Millis kConfirmTimeoutMin{5000};
constexpr Millis kConfirmTimeoutMax{24LL * 3600 * 1000};
// Nix alone takes some tens of megabytes.
constexpr size_t kEvalMemoryMin = size_t{128} << 20;
constexpr unsigned long long kJobsMax = 10'000;
constexpr size_t kEvalMemoryMax = size_t{64} << 40;

Error usage(const std::string& message, std::string_view verb = {}) {
  return {ErrorKind::kInvalidInput,
          message + "; see 'flurry " + (verb.empty() ? "" : std::string(verb) + " ") + "--help'"};
}

// Only says how many words an option takes; the words themselves are read from the parsed list, because
// Boost has no option with exactly two values.
class Words : public po::value_semantic {
 public:
  explicit Words(unsigned count) : count_(count) {}
  std::string name() const override { return "arg"; }
  unsigned min_tokens() const override { return count_; }
  unsigned max_tokens() const override { return count_; }
  bool is_composing() const override { return true; }
  bool is_required() const override { return false; }
  void parse(boost::any&, const std::vector<std::string>&, bool) const override {}
  bool apply_default(boost::any&) const override { return false; }
  void notify(const boost::any&) const override {}

 private:
  unsigned count_;
};

// The words before and between options, and what each option was given.
struct CommandLine {
  std::vector<std::string> words;
  std::vector<std::pair<std::string, std::vector<std::string>>> options;
};

std::vector<std::string> option_names() {
  std::vector<std::string> names;
  for (const auto& option : option_table()) names.emplace_back(option.name);
  return names;
}

std::string strip_dashes(std::string name) {
  name.erase(0, std::min(name.find_first_not_of('-'), name.size()));
  return name;
}

Error unknown_option(const std::string& name) {
  const bool is_long = name.starts_with("--");
  const std::string nearest = is_long ? nearest_spelling(strip_dashes(name), option_names()) : "";
  return usage("unknown option " + quote(name) +
               (nearest.empty() ? "" : " (did you mean '--" + nearest + "'?)"));
}

Error missing_value(const std::string& name) {
  const std::string bare = strip_dashes(name);
  for (const auto& option : option_table()) {
    if (bare != option.name && !(bare.size() == 1 && bare[0] == option.letter)) continue;
    if (value_count(option) == 0) return usage("--" + std::string(option.name) + " takes no value");
    return usage("--" + std::string(option.name) + " needs " + std::string(option.values));
  }
  return usage("option " + quote(name) + " needs a value");
}

Result<CommandLine> split(const std::vector<std::string>& arguments) {
  po::options_description description;
  for (const auto& option : option_table()) {
    std::string names(option.name);
    if (option.letter) names += std::string(",") + option.letter;
    // Boost takes the semantic over.
    description.add_options()(names.c_str(), new Words(value_count(option)));  // NOLINT
  }
  // Abbreviations would change their meaning with every new option.
  const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  CommandLine out;
  try {
    const auto parsed = po::command_line_parser(arguments).options(description).style(style).run();
    for (const auto& option : parsed.options) {
      if (option.string_key.empty())
        out.words.insert(out.words.end(), option.value.begin(), option.value.end());
      else
        out.options.emplace_back(option.string_key, option.value);
    }
  } catch (const po::unknown_option& error) {
    return unknown_option(error.get_option_name());
  } catch (const po::invalid_command_line_syntax& error) {
    return missing_value(error.get_option_name());
  } catch (const po::error& error) {
    return usage(error.what());
  }
  return out;
}

Result<unsigned long long> parse_number(std::string_view name, const std::string& text,
                                        unsigned long long max) {
  unsigned long long value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  if (code != std::errc() || stop != end || value < 1 || value > max)
    return usage("--" + std::string(name) + ": " + quote(text) + " is not a number from 1" +
                 (max == ~0ULL ? "" : " to " + std::to_string(max)));
  return value;
}

// Of jobs or cores: Nix knows 0 for both, and "auto" for jobs.
Result<void> check_count(const std::string& name, const std::string& text) {
  if (text == "0" || (name == "max-jobs" && text == "auto")) return {};
  const auto count = parse_number(name, text, kJobsMax);
  return count ? Result<void>() : count.error();
}

Result<Millis> parse_duration(std::string_view name, const std::string& text) {
  long long value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  const std::string_view unit(stop, static_cast<size_t>(end - stop));
  const bool is_fine = code == std::errc() && (unit.empty() || unit == "s" || unit == "m") && value >= 0 &&
                       value <= kConfirmTimeoutMax.count();  // no overflow below
  if (!is_fine)
    return usage("--" + std::string(name) + ": " + quote(text) + " is not a time like 30, 30s or 2m");
  const Millis out = unit == "m" ? Millis(std::chrono::minutes(value)) : Millis(std::chrono::seconds(value));
  if (out < kConfirmTimeoutMin || out > kConfirmTimeoutMax)
    return usage("--" + std::string(name) + ": " + quote(text) + " is not within 5s and 24h");
  return out;
}

// "512M": bytes by powers of 1024.
Result<size_t> parse_size(std::string_view name, const std::string& text) {
  size_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  const std::string_view unit(stop, static_cast<size_t>(end - stop));
  const size_t at = unit.size() == 1 ? std::string_view("KMGT").find(unit[0]) : std::string_view::npos;
  if (code != std::errc() || at == std::string_view::npos)
    return usage("--" + std::string(name) + ": " + quote(text) + " is not a size like 512M or 4G");
  const size_t shift = 10 * (at + 1);
  if (value > kEvalMemoryMax >> shift || value << shift < kEvalMemoryMin)
    return usage("--" + std::string(name) + ": " + quote(text) + " is not within 128M and 64T");
  return value << shift;
}

Error bad_choice(std::string_view name, const std::string& text, const std::vector<std::string>& choices) {
  std::string all;
  for (const auto& choice : choices) all += (all.empty() ? "" : ", ") + choice;
  return usage("--" + std::string(name) + ": " + quote(text) + " is none of " + all +
               did_you_mean(text, choices));
}

Result<void> read_goal(const std::string& text, Options& options) {
  const auto goal = parse_goal(text);
  if (!goal) return bad_choice("goal", text, {"switch", "test", "boot", "dry-activate", "push", "build"});
  options.goal = *goal;
  return {};
}

Result<void> read_output(const std::string& text, Options& options) {
  if (text != "human" && text != "json") return bad_choice("output", text, {"human", "json"});
  options.output = text == "json" ? OutputFormat::kJson : OutputFormat::kHuman;
  return {};
}

Result<void> read_schema(const std::string& text, Options& options) {
  const std::pair<const char*, FleetSchema> schemas[] = {
      {"flurry", FleetSchema::kFlurry},
      {"deploy", FleetSchema::kDeployRs},
      {"colmena", FleetSchema::kColmena},
      {"colmenaHive", FleetSchema::kColmena},
      {"nixos", FleetSchema::kNixosConfigurations},
      {"nixosConfigurations", FleetSchema::kNixosConfigurations}};
  for (const auto& [name, schema] : schemas)
    if (text == name) options.schema = schema;
  if (!options.schema) return bad_choice("schema", text, {"flurry", "deploy", "colmena", "nixos"});
  return {};
}

// Options without a value; false when `name` is none of them.
bool read_flag(const std::string& name, Options& options) {
  if (name == "no-magic-rollback")
    options.magic_rollback = false;
  else if (name == "allow-no-rollback")
    options.allow_no_rollback = true;
  else if (name == "no-substitute")
    options.substitute = false;
  else if (name == "yes")
    options.yes = true;
  else if (name == "show-trace")
    options.show_trace = true;
  else if (name == "impure")
    options.impure = true;
  else if (name == "keep-failed")
    options.nix_options.emplace_back("keep-failed", "true");
  else if (name == "verbose")
    ++options.verbosity;
  else
    return false;
  return true;
}

Result<void> read_option(const std::string& name, const std::vector<std::string>& values, Options& options) {
  if (read_flag(name, options)) return {};
  const std::string& value = values.at(0);
  if (name == "builders") {
    // None is said by an empty one.
    options.nix_options.emplace_back(name, value);
    return {};
  }
  if (value.empty()) return usage("--" + name + ": the value is empty");
  if (name == "goal") return read_goal(value, options);
  if (name == "output") return read_output(value, options);
  if (name == "schema") return read_schema(value, options);
  // Each adds to what is selected; ',' binds loosest.
  if (name == "on") options.on += (options.on.empty() ? "" : ",") + value;
  if (name == "parallel") {
    ASSIGN_OR_RETURN(const auto number, parse_number(name, value, kParallelMax));
    options.parallel = number;
  }
  if (name == "to") {
    ASSIGN_OR_RETURN(options.to_generation, parse_number(name, value, ~0ULL));
  }
  if (name == "confirm-timeout") {
    ASSIGN_OR_RETURN(options.confirm_timeout, parse_duration(name, value));
  }
  if (name == "eval-memory") {
    ASSIGN_OR_RETURN(options.eval_memory, parse_size(name, value));
  }
  if (name == "max-jobs" || name == "cores") {
    RETURN_IF_ERROR(check_count(name, value));
    options.nix_options.emplace_back(name, value);
  }
  if (name == "sign-key") options.sign_key = value;
  if (name == "override-input") options.override_inputs.emplace_back(value, values.at(1));
  if (name == "option") options.nix_options.emplace_back(value, values.at(1));
  return {};
}

Result<VerbSpec> find_verb(const std::string& word) {
  std::vector<std::string> names;
  for (auto& verb : verb_table()) {
    if (verb.name == word) return verb;
    names.emplace_back(verb.name);
  }
  if (std::ranges::count(future_verbs(), word)) return usage(quote(word) + " is not in this version yet");
  names.emplace_back("help");
  return usage("unknown verb " + quote(word) + did_you_mean(word, names));
}

bool takes(const VerbSpec& verb, std::string_view option) {
  return std::ranges::find(verb.options, option) != verb.options.end();
}

Error not_taken(const VerbSpec& verb, const std::string& option) {
  std::string others;
  for (const auto& other : verb_table())
    if (takes(other, option)) others += (others.empty() ? "" : ", ") + std::string(other.name);
  return usage("'" + std::string(verb.name) + "' does not take --" + option +
                   (others.empty() ? "" : "; these do: " + others),
               verb.name);
}

// Takes what stands before the next comma: names joined by dots, each in quotes or not, as Nix writes
// attributes.
Result<std::string> take_fragment_name(const std::string& text, std::string_view& rest) {
  std::string name;
  while (!rest.empty() && rest.front() != ',') {
    if (rest.front() != '"') {
      name += rest.front();
      rest.remove_prefix(1);
      continue;
    }
    const size_t end = rest.find('"', 1);
    if (end == std::string_view::npos) return usage(quote(text) + ": a quote after '#' is never closed");
    name += rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
  }
  return name;
}

// A flake reference has at most one '#'; everything before it is Nix's.
Result<void> read_flake(const std::string& text, Options& options) {
  const size_t hash = text.find('#');
  if (hash != 0 && !text.empty()) options.flake = text.substr(0, hash);
  if (text.empty()) return usage("the flake is empty");
  if (hash == std::string::npos) return {};
  std::string_view rest = std::string_view(text).substr(hash + 1);
  while (true) {
    ASSIGN_OR_RETURN(const std::string name, take_fragment_name(text, rest));
    const auto host = HostName::parse(name);
    if (!host) return usage(quote(text) + ": " + quote(name) + " after '#' is not a host's name");
    options.fragment_hosts.push_back(host->str());
    if (rest.empty()) return {};
    rest.remove_prefix(1);
  }
}

Options help_with(std::string text) {
  Options options;
  options.verb = Verb::kHelp;
  options.help = std::move(text);
  return options;
}

Result<Options> read_verb(const VerbSpec& verb, const CommandLine& line) {
  Options options;
  options.verb = verb.verb;
  if (verb.verb == Verb::kBuild) options.goal = Goal::kBuild;
  if (verb.verb == Verb::kPush || verb.verb == Verb::kPlan) options.goal = Goal::kPush;
  for (const auto& [name, values] : line.options) {
    if (!takes(verb, name)) return not_taken(verb, name);
    RETURN_IF_ERROR(read_option(name, values, options));
  }
  if (line.words.size() > 1) RETURN_IF_ERROR(read_flake(line.words[1], options));
  if (line.words.size() > 2)
    return usage(
        "unexpected argument " + quote(line.words[2]) + "; select hosts by FLAKE#HOST,... or --on SEL",
        verb.name);
  return options;
}

}  // namespace

Result<Options> parse_options(int argc, const char* const* argv) {
  ASSIGN_OR_RETURN(CommandLine line, split(std::vector<std::string>(argv + std::min(argc, 1), argv + argc)));
  const auto is_given = [&](std::string_view name) {
    return std::ranges::any_of(line.options, [&](const auto& option) { return option.first == name; });
  };
  if (!line.words.empty() && line.words[0] == "help") {
    if (line.words.size() == 1) return help_with(general_help());
    ASSIGN_OR_RETURN(const VerbSpec verb, find_verb(line.words[1]));
    return help_with(verb_help(verb));
  }
  if (line.words.empty() && is_given("version")) {
    Options options;
    options.verb = Verb::kVersion;
    return options;
  }
  if (line.words.empty() && (line.options.empty() || is_given("help"))) return help_with(general_help());
  if (line.words.empty()) return usage("a verb is missing");
  ASSIGN_OR_RETURN(const VerbSpec verb, find_verb(line.words[0]));
  if (is_given("help")) return help_with(verb_help(verb));
  return read_verb(verb, line);
}

}  // namespace flurry
