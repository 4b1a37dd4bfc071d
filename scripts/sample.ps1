# Makes pictures with a LoRA, and without it for comparison. What is "" here is as the training had it.
# 用 LoRA 出圖，並與不使用時比較；留空的項目沿用訓練時的設定。 / 用 LoRA 出图，并与不使用时比较；留空的项目沿用训练时的设置。
$ErrorActionPreference = "Stop"

# LoRA files, a row of pictures for each: @("a.safetensors", "b.safetensors"); @() for the base model alone.
# LoRA 檔，可多個 / LoRA 文件，可多个
$lora = @("./output/demo/demo.safetensors")

# Prompts, with --n what not to show, --w --h size in pixels, --d seed, --l guidance, --s steps; @() reads prompt_file.
# 提示詞，--n 負面、--w --h 寬高、--d 種子、--l CFG、--s 步數 / 提示词，--n 负面、--w --h 宽高、--d 种子、--l CFG、--s 步数
$prompt = @("momo, creature, sky background --d 1 --l 5")

# File with a prompt a line; "" for none.
# 提示詞檔 / 提示词文件
$prompt_file = ""

# Folder of page and pictures; "" is that of the first LoRA (compare.html and compare\ there), output\sample without one.
# 出圖資料夾，留空為第一個 LoRA 所在的資料夾（compare.html 與 compare\），沒有 LoRA 則為 output\sample / 出图文件夹，留空为第一个 LoRA 所在的文件夹（compare.html 与 compare\），没有 LoRA 则为 output\sample
$out = ""

# Base model; "" is the one that the LoRA was trained on.
# 底模，留空使用訓練時的底模 / 底模，留空使用训练时的底模
$pretrained_model = ""

# Width,height in pixels of prompts that name none.
# 解析度 / 分辨率
$resolution = ""

# Sampler: euler_a, euler, ddim, heun, dpmsolver++ and others.
# 採樣器 / 采样器
$sampler = ""

# Draws the seeds of prompts that name none.
# 隨機種子 / 随机种子
$seed = ""

# Which layer of the text encoder is used, from its end.
# CLIP 跳層 / CLIP 跳层
$clip_skip = ""

# Another VAE than the model's own.
# 另外指定 VAE / 另外指定 VAE
$vae = ""

# Number format: bf16, fp16 or no.
# 精度 / 精度
$mixed_precision = ""

# cuda, cuda:1 or cpu.
# 裝置 / 设备
$device = ""

# ---------- Nothing to change below / 以下不需修改 / 以下不需修改 ----------
. "$PSScriptRoot\lib\hand_over.ps1"
Invoke-Engine -Script $PSCommandPath -Command sample -More $args
