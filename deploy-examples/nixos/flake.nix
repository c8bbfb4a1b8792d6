# The smallest real fleet: two NixOS hosts and what flurry has to know about them.
{
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-25.11";

  outputs =
    { nixpkgs, ... }:
    {
      nixosConfigurations = {
        web-01 = nixpkgs.lib.nixosSystem {
          system = "x86_64-linux";
          modules = [
            ./base.nix
            {
              networking.hostName = "web-01";
              services.nginx.enable = true;
              services.nginx.virtualHosts.default.locations."/healthz".return = "200 ok";
              networking.firewall.allowedTCPPorts = [ 80 ];
            }
          ];
        };
        db-01 = nixpkgs.lib.nixosSystem {
          system = "x86_64-linux";
          modules = [
            ./base.nix
            {
              networking.hostName = "db-01";
              services.postgresql.enable = true;
            }
          ];
        };
      };

      flurry = {
        defaults.targetUser = "deploy";
        hosts.web-01 = {
          targetHost = "203.0.113.10";
          tags = [ "web" ];
          health.checks.site.http.url = "http://localhost/healthz";
        };
        hosts.db-01 = {
          targetHost = "203.0.113.11";
          tags = [ "db" ];
          requires = [ ];
          health.checks.postgres.unit = "postgresql.service";
        };
      };
    };
}
