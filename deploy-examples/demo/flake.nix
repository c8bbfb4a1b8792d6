{
  description = "A demo fleet of four hosts, without nixpkgs. See tests/lab/prepare-flake for the busybox it needs.";

  outputs = { self }:
    let
      minios = import ./minios { busyboxDir = ./.; };
      release = import ./release.nix;

      # What is wrong with a host in a release. Nothing, for most.
      broken = {
        "2".h3.webStatus = 500;
        "3".h2.with' = minios.faults.cutsNetwork;
      };

      host = name:
        let wrong = broken.${release}.${name} or { };
        in minios.mkSystem {
          inherit name release;
          units.web = minios.web { inherit release; status = wrong.webStatus or 200; };
          files.motd = "${name} runs release ${release}\n";
          with' = wrong.with' or { };
        };
      names = [ "h1" "h2" "h3" "h4" ];
      forAll = make: builtins.listToAttrs (map (name: { inherit name; value = make name; }) names);
    in
    {
      lib = minios;

      nixosConfigurations = forAll host;

      # What a fresh host runs before anybody deployed to it.
      factory = (minios.mkSystem { name = "factory"; release = "0"; }).config.system.build.toplevel;

      flurry = {
        defaults = {
          targetUser = "root";
          health = {
            minHealthy = "2s";
            deadline = "20s";
            checks.site.http.url = "http://localhost/healthz";
          };
        };
        hosts = {
          h1.tags = [ "canary" "web" ];
          h2.tags = [ "web" ];
          h3.tags = [ "web" ];
          h4.tags = [ "web" ];
        };
      };
    };
}
