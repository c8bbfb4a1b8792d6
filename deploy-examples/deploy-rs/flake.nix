# A flake as deploy-rs has it; nothing in it is flurry's. `flurry deploy` reads the `deploy` output.
# minios (../demo/minios) stands for nixpkgs, so that it runs without one. With the real thing:
#   path = deploy-rs.lib.x86_64-linux.activate.nixos self.nixosConfigurations.web;
{
  outputs = { self }:
    let
      minios = import ./minios { busyboxDir = ./.; };
    in
    {
      nixosConfigurations.web = minios.mkSystem { name = "web"; release = "1"; };

      deploy = {
        sshUser = "root";
        magicRollback = true;
        nodes.web = {
          hostname = "h1";
          confirmTimeout = 20;
          profilesOrder = [ "system" "tools" ];
          profiles = {
            system = {
              user = "root";
              path = minios.activatable self.nixosConfigurations.web.config.system.build.toplevel;
            };
            tools = {
              user = "plain";
              # As deploy-rs.lib.x86_64-linux.activate.noop.
              path = minios.mkProfile { name = "tools"; deployRs = ":"; };
            };
          };
        };
      };
    };
}
