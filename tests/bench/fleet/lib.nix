# A module system in small: mkOption, types with submodules, mkIf, mkMerge and priorities, by the same
# fixpoint as nixpkgs' lib.evalModules, so that evaluating a host costs what it costs there, scaled down.
let
  inherit (builtins) attrNames attrValues concatLists concatMap elem filter foldl' head isAttrs isBool
    isFunction isInt isList isString length listToAttrs map mapAttrs zipAttrsWith;

  isTyped = kind: value: isAttrs value && value._type or null == kind;
  # The definitions of one option, with mkIf and mkMerge resolved.
  discharge = value:
    if isTyped "merge" value then concatMap discharge value.contents
    else if isTyped "if" value then (if value.condition then discharge value.content else [ ])
    else [ value ];
  # Only those of the strongest priority.
  strongest = values:
    let
      weighed = map (v: if isTyped "override" v then v else { priority = 100; content = v; }) values;
      best = foldl' (a: v: if v.priority < a then v.priority else a) 9999 weighed;
    in map (v: v.content) (filter (v: v.priority == best) weighed);

  # mkIf and mkMerge around whole sets of options are pushed down to the single ones.
  pushDown = value:
    if isTyped "merge" value then concatMap pushDown value.contents
    else if isTyped "if" value then map (mapAttrs (_: content: mkIf value.condition content)) (pushDown value.content)
    else [ value ];

  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkOverride = priority: content: { _type = "override"; inherit priority content; };

  isOption = isTyped "option";

  # options: a tree of options by name; sets: definitions that follow the same tree.
  mergeTree = place: options: sets:
    let
      byName = zipAttrsWith (_: values: values) (concatMap pushDown sets);
      unknown = filter (name: !(options ? ${name})) (attrNames byName);
    in
    if unknown != [ ] then throw "The option `${place}${head unknown}' does not exist."
    else mapAttrs
      (name: option:
        let values = byName.${name} or [ ]; in
        if isOption option then mergeOption "${place}${name}" option values
        else mergeTree "${place}${name}." option values)
      options;

  mergeOption = place: option: values:
    let
      defaults = if option ? default then [ (mkOverride 1500 option.default) ] else [ ];
      found = strongest (concatMap discharge (values ++ defaults));
      check = value:
        if option.type.check value then value
        else throw "A definition for option `${place}' is not of type `${option.type.name}'.";
    in
    if found == [ ] then throw "The option `${place}' is used but not defined."
    else (option.apply or (value: value)) (option.type.merge place (map check found));

  one = place: values:
    if length values == 1 then head values
    else if foldl' (same: v: same && v == head values) true values then head values
    else throw "The option `${place}' has conflicting definition values.";

  mergeOptions = zipAttrsWith (name: values:
    if isOption (head values) then head values else mergeOptions values);

  collect = args: modules: concatMap
    (module:
      let found = if isFunction module then module args else if isAttrs module then module else import module args;
      in [ found ] ++ collect args (found.imports or [ ]))
    modules;

  types = {
    bool = { name = "boolean"; check = isBool; merge = one; };
    int = { name = "integer"; check = isInt; merge = one; };
    str = { name = "string"; check = isString; merge = one; };
    lines = { name = "strings"; check = isString; merge = _: values: builtins.concatStringsSep "\n" values; };
    attrs = { name = "attribute set"; check = isAttrs; merge = _: values: foldl' (a: b: a // b) { } values; };
    listOf = type: {
      name = "list of ${type.name}";
      check = isList;
      merge = place: values: map (v: type.merge place [ v ]) (concatLists values);
    };
    nullOr = type: {
      name = "null or ${type.name}";
      check = v: v == null || type.check v;
      merge = place: values: if elem null values then one place values else type.merge place values;
    };
    attrsOf = type: {
      name = "attribute set of ${type.name}";
      check = isAttrs;
      merge = place: values: mapAttrs
        (name: defs: type.merge "${place}.${name}" (strongest (concatMap discharge defs)))
        (zipAttrsWith (_: defs: defs) (concatMap pushDown values));
    };
    submodule = module: {
      name = "submodule";
      check = v: isAttrs v || isFunction v;
      merge = place: values: (evalModules { modules = [ module ] ++ map (v: { config = v; }) values; inherit place; }).config;
    };
  };

  evalModules = { modules, args ? { }, place ? "" }:
    let
      all = collect (args // { inherit config options lib; }) modules;
      options = mergeOptions (map (m: m.options or { }) all);
      config = mergeTree (if place == "" then "" else "${place}.") options (map (m: m.config or { }) all);
    in { inherit config options; };

  lib = {
    inherit evalModules mkIf mkOverride types;
    mkMerge = contents: { _type = "merge"; inherit contents; };
    mkDefault = mkOverride 1000;
    mkForce = mkOverride 50;
    mkOption = attrs: { _type = "option"; } // attrs;
    mkEnable = default: { _type = "option"; type = types.bool; inherit default; };
    listToSet = f: names: listToAttrs (map (name: { inherit name; value = f name; }) names);
    values = attrValues;
  };
in lib
