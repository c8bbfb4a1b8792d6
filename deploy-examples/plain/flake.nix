# A flake with nothing but nixosConfigurations: each is a host, its name is its address (~/.ssh/config may say more).
# minios (../demo/minios) stands for nixpkgs, so that it runs without one. With the real thing:
#   nixosConfigurations.h1 = nixpkgs.lib.nixosSystem { … };
{
  outputs = { self }:
    let
      minios = import ./minios { busyboxDir = ./.; };
    in
    {
      nixosConfigurations = {
        h1 = minios.mkSystem { name = "h1"; release = "plain"; };
        h2 = minios.mkSystem { name = "h2"; release = "plain"; };
      };
    };
}
