-- The Fuse: LuaJIT 2.1 inside Fusion. What the host gives, and what it calls.
std = "luajit"
max_line_length = 120
files["**/*.fuse"] = {
    read_globals = { "FuPLATFORM_WINDOWS", "FuRegisterClass", "CT_Tool", "Clip", "Image", "Number", "Pixel",
        "Text", "bmd", "fu", "fusion", "self" },
    globals = {
        "Create", "NotifyChanged", "OnAddToFlow", "Process",
        "InDevice", "InFeather", "InFrames", "InGrain", "InGrow", "InGuide", "InImage", "InMatte", "InMatteFrames",
        "InMatteImage", "InMissing", "InNode", "InNumbers", "InOffset", "InPlate", "InQuality", "InRefresh", "InResume", "InRun",
        "InSeen", "InShow", "InStart", "InStatus", "InSteps", "InStop", "InTime", "InWork", "InWorker", "OutImage",
    },
}
