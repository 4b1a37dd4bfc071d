# Shows what a training would see: folders, captions, sizes, steps, odd pictures. Trains nothing; writes a contact sheet.
# 檢查訓練集：資料夾、標籤、尺寸、步數；不訓練，產生總覽頁。 / 检查训练集：文件夹、标签、尺寸、步数；不训练，生成总览页。
$ErrorActionPreference = "Stop"

# Folder that holds the folders of pictures, each named <repeats>_<trigger> <class>.
# 訓練集資料夾 / 训练集文件夹
$train_data_dir = "./train_data/demo"

# Base model, of which the sizes depend; "" counts as SD 1.x.
# 底模，決定解析度，留空視為 SD1.x / 底模，决定分辨率，留空视为 SD1.x
$pretrained_model = "./models/micro/micro-sd.safetensors"

# Folder of regularisation pictures; "" for none.
# 正則化圖片資料夾 / 正则化图片文件夹
$reg_data_dir = ""

# Width,height in pixels; "" is what the base model was made for.
# 解析度，留空依底模決定 / 分辨率，留空依底模决定
$resolution = ""

# Pictures in a step.
# 每步圖片數 / 每步图片数
$batch_size = 2

# Times that all pictures are gone through.
# 訓練輪數 / 训练轮数
$max_train_epochs = 10

# Shortest side of a bucket in pixels; "" is 256, or half of a smaller resolution.
# 最小邊長，留空為 256 / 最小边长，留空为 256
$min_bucket_reso = ""

# Longest side of a bucket in pixels; "" is 1024, for SDXL 2048.
# 最大邊長，留空為 1024，SDXL 2048 / 最大边长，留空为 1024，SDXL 2048
$max_bucket_reso = ""

# Never enlarge a small picture.
# 不放大小圖 / 不放大小图
$bucket_no_upscale = $false

# Ending of the caption files beside the pictures.
# 標籤檔的副檔名 / 标签文件的扩展名
$caption_extension = ".txt"

# Longest caption in tokens: 75, 150 or 225.
# 標籤最大長度：75、150、225 / 标签最大长度：75、150、225
$max_token_length = 225

# Where the contact sheet is written; "" is output\check.html.
# 總覽頁的位置，留空為 output\check.html / 总览页的位置，留空为 output\check.html
$sheet = ""

# ---------- Nothing to change below / 以下不需修改 / 以下不需修改 ----------
. "$PSScriptRoot\lib\hand_over.ps1"
Invoke-Engine -Script $PSCommandPath -Command check -More $args
