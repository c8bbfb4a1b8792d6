namespace flurry::nix {}
