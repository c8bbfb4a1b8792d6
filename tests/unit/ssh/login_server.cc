#include "tests/unit/ssh/login_server.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <array>
#include <vector>

#include "cli/ssh/encoding.h"
#include "core/sys/clock.h"
#include "core/sys/fd.h"

namespace flurry::ssh {
namespace {

constexpr std::string_view kBanner = "SSH-2.0-floods";
constexpr Millis kPatience{20'000};
constexpr size_t kBlock = 16;
constexpr size_t kMac = 32;
constexpr size_t kPacketMax = 64 << 10;
constexpr char kServiceRequest = 5, kServiceAccept = 6, kNewKeys = 21, kExchangeInit = 30,
               kExchangeReply = 31, kLoginRequest = 50, kLoginSuccess = 52;

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)>;
using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

const unsigned char* bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

std::string sha256(std::string_view text) {
  std::string out(SHA256_DIGEST_LENGTH, '\0');
  SHA256(bytes(text), text.size(), bytes(out));
  return out;
}

Key new_key(int type) {
  const KeyContext context(EVP_PKEY_CTX_new_id(type, nullptr), EVP_PKEY_CTX_free);
  EVP_PKEY* key = nullptr;
  EVP_PKEY_keygen_init(context.get());
  EVP_PKEY_keygen(context.get(), &key);
  return {key, EVP_PKEY_free};
}

std::string public_part(const Key& key) {
  std::string out(32, '\0');
  size_t size = out.size();
  EVP_PKEY_get_raw_public_key(key.get(), bytes(out), &size);
  return out;
}

std::string shared_secret(const Key& ours, std::string_view theirs) {
  const Key peer(EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, bytes(theirs), theirs.size()),
                 EVP_PKEY_free);
  const KeyContext context(EVP_PKEY_CTX_new(ours.get(), nullptr), EVP_PKEY_CTX_free);
  std::string out(32, '\0');
  size_t size = out.size();
  EVP_PKEY_derive_init(context.get());
  EVP_PKEY_derive_set_peer(context.get(), peer.get());
  EVP_PKEY_derive(context.get(), bytes(out), &size);
  return out;
}

std::string signature_of(const Key& key, std::string_view text) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  std::string out(64, '\0');
  size_t size = out.size();
  EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get());
  EVP_DigestSign(context.get(), bytes(out), &size, bytes(text), text.size());
  return out;
}

// As a number without a sign: no zeros in front but one where the first bit is set.
std::string number_of(std::string_view secret) {
  while (!secret.empty() && secret.front() == 0) secret.remove_prefix(1);
  const bool looks_negative = !secret.empty() && (static_cast<unsigned char>(secret.front()) & 0x80) != 0;
  std::string out;
  put_string(out, (looks_negative ? std::string(1, '\0') : "") + std::string(secret));
  return out;
}

Cipher new_cipher(const std::string& key, const std::string& start) {
  Cipher out(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  EVP_EncryptInit_ex(out.get(), EVP_aes_128_ctr(), nullptr, bytes(key), bytes(start));
  return out;
}

std::string through(const Cipher& cipher, std::string_view text) {
  std::string out(text.size(), '\0');
  int size = 0;
  EVP_EncryptUpdate(cipher.get(), bytes(out), &size, bytes(text), static_cast<int>(text.size()));
  return out;
}

std::string mac_of(const std::string& key, uint32_t number, std::string_view packet) {
  std::string text;
  put_u32(text, number);
  text += packet;
  std::string out(kMac, '\0');
  HMAC(EVP_sha256(), bytes(key), static_cast<int>(key.size()), bytes(text), text.size(), bytes(out), nullptr);
  return out;
}

std::optional<std::string> read_exactly(int fd, size_t size) {
  std::string out(size, '\0');
  for (size_t at = 0; at < size;) {
    const auto n = sys::read_some(fd, std::span(out).subspan(at), sys::now() + kPatience);
    if (!n || *n == 0) return std::nullopt;
    at += *n;
  }
  return out;
}

std::string exchange_offer() {
  std::string out = "\x14" + std::string(16, 'c');
  for (const std::string_view list : {"curve25519-sha256", "ssh-ed25519", "aes128-ctr", "aes128-ctr",
                                      "hmac-sha2-256", "hmac-sha2-256", "none", "none", "", ""})
    put_string(out, list);
  return out + std::string(5, '\0');
}

}  // namespace

struct LoginServer::Keys {
  Cipher to_client;
  Cipher from_client;
  std::string mac;
};

LoginServer::LoginServer(int fd) : fd_(fd) {}
LoginServer::~LoginServer() = default;

bool LoginServer::send(std::string_view payload) {
  size_t padding = kBlock - (payload.size() + 5) % kBlock;
  if (padding < 4) padding += kBlock;
  std::string packet;
  put_u32(packet, static_cast<uint32_t>(payload.size() + padding + 1));
  packet += static_cast<char>(padding);
  packet += payload;
  packet.append(padding, '\0');
  const uint32_t number = sent_++;
  if (keys_) packet = through(keys_->to_client, packet) + mac_of(keys_->mac, number, packet);
  return sys::write_all(fd_, packet, sys::now() + kPatience).has_value();
}

// What the client says is not checked: this is the side that lies.
std::optional<std::string> LoginServer::receive() {
  auto first = read_exactly(fd_, kBlock);
  if (!first) return std::nullopt;
  if (keys_) first = through(keys_->from_client, *first);
  std::string_view in = *first;
  const uint32_t size = *take_u32(in);
  if (size < kBlock - 4 || size > kPacketMax) return std::nullopt;
  auto rest = read_exactly(fd_, size + 4 - kBlock + (keys_ ? kMac : 0));
  if (!rest) return std::nullopt;
  if (keys_) rest = through(keys_->from_client, std::string_view(*rest).substr(0, rest->size() - kMac));
  ++received_;
  const std::string packet = *first + *rest;
  const size_t padding = static_cast<unsigned char>(packet[4]);
  if (padding + 1 > size) return std::nullopt;
  return packet.substr(5, size - padding - 1);
}

bool LoginServer::greet() {
  if (!sys::write_all(fd_, std::string(kBanner) + "\r\n", sys::now() + kPatience)) return false;
  while (!client_banner_.ends_with("\r\n")) {
    const auto next = read_exactly(fd_, 1);
    if (!next || client_banner_.size() > 255) return false;
    client_banner_ += *next;
  }
  client_banner_.resize(client_banner_.size() - 2);
  return true;
}

bool LoginServer::exchange_keys() {
  const std::string offer = exchange_offer();
  if (!send(offer)) return false;
  const auto client_offer = receive();
  const auto init = client_offer ? receive() : std::nullopt;
  if (!init || init->empty() || init->front() != kExchangeInit) return false;
  std::string_view rest = std::string_view(*init).substr(1);
  const auto theirs = take_string(rest);
  if (!theirs) return false;
  const Key host_key = new_key(EVP_PKEY_ED25519);
  const Key ours = new_key(EVP_PKEY_X25519);
  std::string host_blob;
  put_string(host_blob, "ssh-ed25519");
  put_string(host_blob, public_part(host_key));
  const std::string secret = number_of(shared_secret(ours, *theirs));
  std::string all;
  for (const std::string& part : {client_banner_, std::string(kBanner), *client_offer, offer, host_blob,
                                  std::string(*theirs), public_part(ours)})
    put_string(all, part);
  const std::string hash = sha256(all + secret);
  std::string signature;
  put_string(signature, "ssh-ed25519");
  put_string(signature, signature_of(host_key, hash));
  std::string reply(1, kExchangeReply);
  for (const std::string& part : {host_blob, public_part(ours), signature}) put_string(reply, part);
  if (!send(reply) || !send(std::string(1, kNewKeys))) return false;
  const auto new_keys = receive();
  if (!new_keys || new_keys->empty() || new_keys->front() != kNewKeys) return false;
  const auto key = [&](char letter) { return sha256(secret + hash + letter + hash); };
  keys_ = std::make_unique<Keys>(Keys{new_cipher(key('D').substr(0, kBlock), key('B').substr(0, kBlock)),
                                      new_cipher(key('C').substr(0, kBlock), key('A').substr(0, kBlock)),
                                      key('F')});
  return true;
}

bool LoginServer::let_in() {
  if (!greet() || !exchange_keys()) return false;
  for (;;) {
    const auto request = receive();
    if (!request || request->empty()) return false;
    std::string answer;
    if (request->front() == kServiceRequest) {
      answer = kServiceAccept;
      put_string(answer, "ssh-userauth");
      if (!send(answer)) return false;
    } else if (request->front() == kLoginRequest) {
      return send(std::string(1, kLoginSuccess));
    }
  }
}

}  // namespace flurry::ssh
