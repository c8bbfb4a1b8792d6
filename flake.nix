# Builds flurry with Nix: `nix build` makes the controller with the static agent beside it.
{
  description = "Fleet deployment for NixOS that tells the truth and goes back by itself";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-25.11";

  outputs =
    { self, nixpkgs }:
    let
      system = "x86_64-linux";
      pkgs = nixpkgs.legacyPackages.${system};
      libraries =
        p: with p; [
          boost
          grpc
          openssl
          protobuf
          spdlog
          zstd
        ];
      agent = pkgs.pkgsStatic.stdenv.mkDerivation {
        pname = "flurry-agent";
        version = "0.1.0";
        src = self;
        nativeBuildInputs = with pkgs; [ cmake ninja pkg-config protobuf grpc ];
        buildInputs = libraries pkgs.pkgsStatic ++ [ pkgs.pkgsStatic.libssh2 pkgs.nlohmann_json ];
        cmakeFlags = [ "-DFLURRY_TESTS=OFF" ];
        ninjaFlags = [ "flurry-agent" ];
        installPhase = "install -D bin/flurry-agent $out/libexec/flurry/flurry-agent";
      };
    in
    {
      # Checks a fleet's flake while Nix evaluates, and gives its fields as NixOS options.
      lib = import ./eval/lib.nix;

      packages.${system}.default = pkgs.stdenv.mkDerivation {
        pname = "flurry";
        version = "0.1.0";
        src = self;
        nativeBuildInputs = with pkgs; [ cmake ninja pkg-config protobuf grpc ];
        buildInputs = libraries pkgs ++ [ pkgs.libssh2 pkgs.nlohmann_json ];
        cmakeFlags = [ "-DFLURRY_TESTS=OFF" ];
        ninjaFlags = [ "flurry" ];
        installPhase = ''
          install -D bin/flurry $out/bin/flurry
          install -D ${agent}/libexec/flurry/flurry-agent $out/libexec/flurry/flurry-agent
        '';
      };
    };
}
