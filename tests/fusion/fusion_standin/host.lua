-- A strict stand-in of what Fusion gives a Fuse: the functions and attributes of Blackmagic's Fuse guide, and no
-- other. Whatever else the Fuse asks for is noted in `violations`, which the tests want empty: raising would not
-- do, as the Fuse guards its calls.
--
-- Called with `host`, the Python side (tests/fusion/fusion_standin/__init__.py); gives the functions that drive a node.
local python = ...
-- Only numbers and text cross between the languages, and each of these once: lupa 2.8 may take a new Python object for
-- an old one at the same address.
local host = {}
for name in ([[violation print map_path tool execute os_execute create_folder folder_exists file_exists list_folder
    read_frame copy get_pixel set_pixel clock_skew is_rendering connected]]):gmatch("%S+") do
    host[name] = python[name]
end
for _, name in ipairs({ "node_name", "source", "fuse_path", "sandboxed", "windows", "apart", "locks",
    "tells" }) do
    host[name] = python[name]
end
local NONE = {}  -- stands for nil in a table of members

local function violation(text, ...)
    text = text:format(...)
    host.violation(text)
    error("stand-in: " .. text, 3)
end

-- An object of which only what is listed can be read, and nothing written.
local function strict(name, members, writable)
    return setmetatable({}, {
        __index = function(_, key)
            local found = members[key]
            if found == nil then violation("%s has no %s", name, tostring(key)) end
            if found == NONE then return nil end
            return found
        end,
        __newindex = function(_, key, value)
            if not (writable and writable[key]) then violation("%s.%s cannot be set", name, tostring(key)) end
            members[key] = value
        end,
        standin = name,
        members = members,
    })
end

local function kind_of(object)
    local of = type(object) == "table" and getmetatable(object)
    return of and of.standin or type(object)
end

local function want(object, kind, where)
    if kind_of(object) ~= kind then violation("%s wants %s, not %s", where, kind, kind_of(object)) end
end

-- ---------------------------------------------------------------------------------------- parameters, images

local function parameter(kind, value_type)
    return function(value)
        if type(value) ~= value_type then violation("%s(%s) wants %s", kind, tostring(value), value_type) end
        return strict(kind, { Value = value })
    end
end
local Text, Number = parameter("Text", "string"), parameter("Number", "number")

local function Pixel(values)
    local members = { R = 0, G = 0, B = 0, A = 0 }
    for key, value in pairs(values or {}) do
        if members[key] == nil or type(value) ~= "number" then violation("Pixel has no %s", tostring(key)) end
        members[key] = value
    end
    return strict("Pixel", members, { R = true, G = true, B = true, A = true })
end

local image_of = {}  -- stand-in object to the number of what Python holds

-- `held`: "number width height left bottom right top file". Only the pixels of the data window are there.
local function wrap_image(held, own, no_data)
    local object
    local number, width, height, left, bottom, right, top, path = held:match(
        "^(%d+) (%d+) (%d+) (%S+) (%S+) (%S+) (%S+) (.*)$")
    number, width, height = tonumber(number), tonumber(width), tonumber(height)
    left, bottom, right, top = tonumber(left), tonumber(bottom), tonumber(right), tonumber(top)
    local function at(x, y)
        if no_data or x ~= math.floor(x) or y ~= math.floor(y) or x < left or y < bottom or x >= right or y >= top then
            violation("pixel %s, %s is outside the image: Fusion crashes", tostring(x), tostring(y))
        end
        return x, y
    end
    object = strict("Image", {
        Width = width, Height = height, OriginalWidth = width, OriginalHeight = height,
        Depth = 8, XScale = 1, YScale = 1, ProxyScale = 1, Field = -1,
        DataWindow = strict("FuRectInt", { left = left, bottom = bottom, right = right, top = top }),
        Metadata = path ~= "" and { Filename = path } or NONE,
        Copy = function(this)
            want(this, "Image", "Copy")
            if no_data then violation("Copy of an image without pixels") end
            return wrap_image(host.copy(number), true)
        end,
        GetPixel = function(this, x, y, pixel)
            want(this, "Image", "GetPixel")
            want(pixel, "Pixel", "GetPixel")
            x, y = at(x, y)
            pixel.R, pixel.G, pixel.B, pixel.A = host.get_pixel(number, x, y)
        end,
        SetPixel = function(this, x, y, pixel)
            want(this, "Image", "SetPixel")
            want(pixel, "Pixel", "SetPixel")
            if not own then violation("SetPixel on an image that belongs to others: Copy it first") end
            x, y = at(x, y)
            host.set_pixel(number, x, y, pixel.R, pixel.G, pixel.B, pixel.A)
        end,
    })
    image_of[object] = number
    return object
end

local function Clip(path, save)
    if type(path) ~= "string" or (save ~= nil and save ~= false) then violation("Clip(%s)", tostring(path)) end
    return strict("Clip", {
        Filename = path,
        Open = function() return true end,
        Close = function() end,
        GetFrame = function(this, number)
            want(this, "Clip", "GetFrame")
            if type(number) ~= "number" or number ~= math.floor(number) then
                violation("GetFrame(%s) wants a whole number", tostring(number))
            end
            local held = host.read_frame(path, number)
            return held and wrap_image(held, false) or nil
        end,
    })
end

-- ---------------------------------------------------------------------------------------- inputs and outputs

local COMMON = { LINKID_DataType = "string", LINK_Main = "number", INPID_InputControl = "string",
    INP_Required = "boolean", INP_External = "boolean", INP_Passive = "boolean", INP_DoNotifyChanged = "boolean",
    INP_SendRequest = "boolean", INP_DelayDefault = "boolean", IC_Visible = "boolean", ICD_Width = "number",
    INP_Disabled = "boolean" }
local NUMBERS = { INP_Default = "number", INP_MinScale = "number", INP_MaxScale = "number", INP_MinAllowed = "number",
    INP_MaxAllowed = "number", INP_Integer = "boolean" }
local CONTROLS = {
    ButtonControl = { of = "Number", also = { BTNC_Align = "string" } },
    ComboControl = { of = "Number", also = { CC_LabelPosition = "string" }, numbers = true, strings = "CCS_AddString" },
    SliderControl = { of = "Number", also = { SLCS_LowName = "string", SLCS_HighName = "string" }, numbers = true },
    ScrewControl = { of = "Number", also = {}, numbers = true },
    CheckboxControl = { of = "Number", also = { CBC_TriState = "boolean" }, numbers = true },
    TextEditControl = { of = "Text", also = { INPS_DefaultText = "string", TEC_Lines = "number", TEC_Wrap = "boolean",
        TEC_ReadOnly = "boolean", TEC_CharLimit = "number", TEC_DeferSetInputs = "boolean" } },
    FileControl = { of = "Text", also = { INPS_DefaultText = "string", FC_IsSaver = "boolean",
        FC_PathBrowse = "boolean", FC_ClipBrowse = "boolean", FCS_FilterString = "string" } },
}

local node = { inputs = {}, order = {}, outputs = {}, nests = 0 }
local inside  -- the event function that runs now

local function check_attributes(id, attributes)
    local of = attributes.LINKID_DataType
    local control = CONTROLS[attributes.INPID_InputControl or ""]
    if of == "Image" then
        if attributes.INPID_InputControl then violation("%s: an image has no control", id) end
    elseif not control or control.of ~= of then
        violation("%s: control %s of %s", id, tostring(attributes.INPID_InputControl), tostring(of))
    end
    for key, value in pairs(attributes) do
        local known = COMMON[key] or (control and (control.also[key] or (control.numbers and NUMBERS[key])))
        if type(key) == "number" then
            if not control or not control.strings or type(value[control.strings]) ~= "string" then
                violation("%s: entry %d", id, key)
            end
        elseif not known then
            violation("%s: no attribute %s here", id, tostring(key))
        elseif type(value) ~= known then
            violation("%s: %s wants %s", id, key, known)
        end
    end
    if attributes.TEC_ReadOnly and attributes.INP_External ~= false then
        violation("%s: read-only text wants INP_External = false", id)
    end
end

local function held_to(input, value)
    local a = input.attributes
    if a.LINKID_DataType ~= "Number" then return value end
    if a.INP_Integer then value = math.floor(value + 0.5) end
    return math.max(a.INP_MinAllowed or value, math.min(a.INP_MaxAllowed or value, value))
end

local function add_input(this, label, id, attributes)
    want(this, "self", "AddInput")
    if inside ~= "Create" then violation("AddInput outside Create") end
    if node.made and node.inputs[id] then return node.inputs[id].object end  -- Create of another Lua state
    if type(label) ~= "string" or type(id) ~= "string" or not id:match("^%a[%w_]*$") or node.inputs[id] then
        violation("AddInput(%s, %s)", tostring(label), tostring(id))
    end
    check_attributes(id, attributes)
    local input = { id = id, label = label, attributes = attributes }
    input.value = attributes.LINKID_DataType == "Text" and (attributes.INPS_DefaultText or "")
        or attributes.LINKID_DataType == "Number" and (attributes.INP_Default or 0) or nil
    local function typed()
        if attributes.LINKID_DataType == "Image" then return input.value end
        return (attributes.LINKID_DataType == "Text" and Text or Number)(input.value)
    end
    input.object = strict("Input", {
        GetValue = function(on, request)
            want(on, "Input", "GetValue")
            want(request, "Request", "GetValue")
            if inside ~= "Process" then violation("%s:GetValue outside Process", id) end
            if attributes.INP_SendRequest == false then violation("%s:GetValue with INP_SendRequest = false", id) end
            return typed()
        end,
        GetSource = function(on, time)
            want(on, "Input", "GetSource")
            want(time, "number", "GetSource")
            return typed()
        end,
        SetSource = function(on, value, time)
            want(on, "Input", "SetSource")
            want(time, "number", "SetSource")
            want(value, attributes.LINKID_DataType, id .. ":SetSource")
            if inside == "Process" and not attributes.INP_Passive then
                violation("%s:SetSource in Process renders for ever", id)
            end
            if attributes.INP_Disabled then violation("%s is disabled", id) end
            if inside == "Process" and host.locks and attributes.INP_External == false then return end
            input.value = held_to(input, value.Value)
        end,
        GetAttr = function(_, name)
            if name == "INP_Connected" then return host.connected(id) end
            return attributes[name]
        end,
        SetAttrs = function(_, changes)
            for key, value in pairs(changes) do attributes[key] = value end
            check_attributes(id, attributes)
        end,
    })
    node.inputs[id] = input
    node.order[#node.order + 1] = id
    return input.object
end

local function add_output(this, label, id, attributes)
    want(this, "self", "AddOutput")
    if attributes.LINKID_DataType ~= "Image" or type(label) ~= "string" or type(id) ~= "string" then
        violation("AddOutput(%s)", tostring(id))
    end
    return strict("Output", {
        Set = function(on, request, image)
            want(on, "Output", "Set")
            want(request, "Request", "Set")
            if image ~= nil then want(image, "Image", "Set") end
            if node.set then violation("Output:Set twice") end
            node.set, node.image = true, image
        end,
    })
end

-- ----------------------------------------------------------------------------------- the comp and its tools

local function tool_of(name)
    local text = host.tool(name)
    if not text then return nil end
    local found = {}
    for key, value in text:gmatch("([%w_]+)=([^\1]*)\1") do found[key] = tonumber(value) or value end
    local members = {
        ID = found.id, Name = name,
        GetAttrs = function()
            local attributes = { TOOLS_Name = name, TOOLS_RegID = found.id, TOOLST_Clip_Name = {} }
            if found.clip then
                attributes.TOOLST_Clip_Name = { found.clip }
                attributes.TOOLIT_Clip_StartFrame = { found.start_frame }
                attributes.TOOLIT_Clip_TrimIn = { found.trim_in }
                attributes.TOOLNT_Clip_Start = { found.global_in }
            end
            return attributes
        end,
        GetData = function(_, key) return key == "MediaProps.MEDIA_PATH" and found.media or nil end,
    }
    for id, from in pairs({ Input = found.input or NONE, Matte = found.matte or NONE }) do
        members[id] = strict("tool input", {
            GetConnectedOutput = function()
                if from == NONE then return nil end
                return strict("tool output", { GetTool = function() return tool_of(from) end })
            end,
        })
    end
    return strict("tool", members)
end

local function find_tool(of)
    return function(this, name)
        want(this, of, "FindTool")
        return tool_of(name)
    end
end

-- What `self.Comp` is inside a Fuse: fields, MapPath and GetPrefs. The methods of the comp that scripts get are not
-- there (reported of Resolve 21: "attempt to call method 'GetAttrs' (a nil value)").
local comp = strict("Comp", setmetatable({
    MapPath = function(this, path)
        want(this, "Comp", "MapPath")
        want(path, "string", "MapPath")
        return host.map_path(path)
    end,
    FindTool = host.tells == true and find_tool("Comp") or NONE,
    GetAttrs = NONE,
}, { __index = function(_, key) if key == "Rendering" then return host.is_rendering() end end }))

local self_object = strict("self", {
    Name = host.node_name,
    Comp = comp,
    Status = "OK",
    AddInput = add_input,
    AddOutput = add_output,
    BeginControlNest = function(_, label, id, expanded, tags)
        if type(label) ~= "string" or type(id) ~= "string" or type(expanded) ~= "boolean" or type(tags) ~= "table" then
            violation("BeginControlNest")
        end
        node.nests = node.nests + 1
    end,
    EndControlNest = function() node.nests = node.nests - 1 end,
})

local bmd_object = strict("bmd", {
    executebg = function(command, hidden)
        want(command, "string", "executebg")
        want(hidden, "boolean", "executebg")
        host.execute(command)
    end,
    createdir = function(path) return host.create_folder(path) end,
    direxists = function(path) return host.folder_exists(path) end,
    fileexists = function(path) return host.file_exists(path) end,
    readdir = function(pattern)
        local entries = {}
        for kind, name in host.list_folder(pattern):gmatch("([fd])/([^/]+)/") do
            entries[#entries + 1] = { Name = name, IsDir = kind == "d" }
        end
        return entries
    end,
})

-- ------------------------------------------------------------------------------------------ loading the Fuse

local REGISTRY = { REGS_Name = "string", REGS_Category = "string", REGS_OpIconString = "string",
    REGS_OpDescription = "string", REGS_HelpTopic = "string", REGS_URL = "string", REGS_IconID = "string",
    REG_OpNoMask = "boolean", REG_NoBlendCtrls = "boolean", REG_NoObjMatCtrls = "boolean",
    REG_NoMotionBlurCtrls = "boolean", REG_Fuse_NoEdit = "boolean", REG_Fuse_NoReload = "boolean",
    REG_TimeVariant = "boolean", REG_Unpredictable = "boolean", REG_Version = "number" }

local registered
local globals = {
    FuRegisterClass = function(name, class, attributes)
        if not name:match("^%a[%w_]*$") or class ~= "CT_Tool" then violation("FuRegisterClass") end
        for key, value in pairs(attributes) do
            if type(value) ~= REGISTRY[key] then violation("FuRegisterClass: %s", tostring(key)) end
        end
        for _, key in ipairs({ "REGS_Category", "REGS_OpIconString", "REGS_OpDescription" }) do
            if not attributes[key] then violation("FuRegisterClass wants %s", key) end
        end
        registered = name
    end,
    CT_Tool = "CT_Tool",
    Text = Text, Number = Number, Pixel = Pixel, Clip = Clip,
    bmd = bmd_object,
    io = host.sandboxed and NONE or io,
    os = host.sandboxed and NONE or {
        time = function() return os.time() + host.clock_skew() end,
        getenv = os.getenv, tmpname = os.tmpname, rename = os.rename,
        remove = os.remove, execute = function(command) return host.os_execute(command) end,
    },
    print = function(...) host.print(table.concat({ ... }, "\t")) end,
    package = host.windows == "without package" and NONE
        or { config = host.windows and "\\\n;\n?\n!\n-\n" or package.config },
    fu = NONE,
    fusion = host.tells == "fusion" and strict("fusion", {
        GetCurrentComp = function(this)
            want(this, "fusion", "GetCurrentComp")
            if inside == "Process" then violation("GetCurrentComp in Process: it may be another comp") end
            return strict("script comp", { FindTool = find_tool("script comp") })
        end,
    }) or NONE,
    FuPLATFORM_WINDOWS = host.windows and true or NONE,
}
for _, name in ipairs({ "assert", "error", "ipairs", "pairs", "pcall", "select", "tonumber", "tostring", "type",
    "string", "table", "math", "debug", "unpack" }) do
    globals[name] = _G[name]
end

-- A Lua state of the Fuse: its file, run with globals and locals of its own. `object`: what `self` is.
local function load_fuse(object)
    local own = setmetatable({ self = object }, { __index = globals })
    local env = setmetatable({}, {
        __index = function(_, key)
            local found = own[key]
            if found == nil then violation("no global %s", tostring(key)) end
            if found == NONE then return nil end
            return found
        end,
        __newindex = function(_, key, value)
            if not (key:match("^In%u") or key:match("^Out%u") or key == "Create" or key == "NotifyChanged"
                or key == "Process" or key == "OnAddToFlow") then
                violation("the Fuse sets the global %s", key)
            end
            own[key] = value
        end,
    })
    local chunk = assert(loadstring(host.source, "@" .. host.fuse_path))
    setfenv(chunk, env)
    chunk()
    if not registered then violation("no FuRegisterClass") end
    return env
end

load_fuse(NONE)  -- as Fusion starts, for FuRegisterClass alone
local env = load_fuse(self_object)
-- Process is reported not to see what NotifyChanged and OnAddToFlow have set.
local process_env = host.apart and load_fuse(self_object) or env

local function event(name, ...)
    inside = name
    local ok, why = pcall((name == "Process" and process_env or env)[name], ...)
    inside = nil
    if not ok then host.violation(name .. " raised " .. tostring(why)) end
end

event("Create")
node.made = true
if process_env ~= env then
    inside = "Create"
    process_env.Create()
    inside = nil
end
if node.nests ~= 0 then violation("a control nest is open") end

local driver = {}

function driver.restore(id, value)
    local input = assert(node.inputs[id], id)
    input.value = held_to(input, value)
end

-- What Fusion calls after Create: OnAddToFlow, and NotifyChanged for each control that asks for it (its first value;
-- nil while a project loads).
function driver.ready()
    event("OnAddToFlow")
    for _, id in ipairs(node.order) do
        local input = node.inputs[id]
        if input.attributes.INP_DoNotifyChanged then
            event("NotifyChanged", input.object, nil, 0)
            event("NotifyChanged", input.object, Number(0), 0)
        end
    end
end

function driver.set(id, value)
    local input = assert(node.inputs[id], id)
    input.value = held_to(input, value)
    if input.attributes.INP_DoNotifyChanged then
        event("NotifyChanged", input.object, (type(value) == "string" and Text or Number)(input.value), 0)
    end
end

-- A button is 1 in NotifyChanged alone, and 0 again after it.
function driver.press(id)
    local input = assert(node.inputs[id], id)
    assert(input.attributes.INPID_InputControl == "ButtonControl", id)
    event("NotifyChanged", input.object, Number(1), 0)
    event("NotifyChanged", input.object, Number(0), 0)
end

function driver.value(id) return node.inputs[id].value end
function driver.ids() return table.concat(node.order, " ") end
function driver.kind(id) return node.inputs[id].attributes.LINKID_DataType end

function driver.process(time, quick, held, size_only)
    for _, input in pairs(node.inputs) do
        if input.attributes.LINKID_DataType == "Image" then
            input.value = input.id == "Input" and held and wrap_image(held, false, size_only) or nil
        end
    end
    node.set, node.image = nil, nil
    event("Process", strict("Request", {
        Time = time, IsQuick = function() return quick end, GetTime = function() return time end,
        IsPreCalc = function() return size_only end, IsStampOnly = function() return false end, IsNoMotionBlur = function() return true end,
    }))
    if not node.set then host.violation("Process has set no output") end
    return node.image and image_of[node.image] or nil
end

return driver
