# Writes a sentence for each picture into a caption file beside it. Captions that exist are skipped unless told otherwise.
# 為每張圖寫一句描述；已有的標籤預設略過。 / 为每张图写一句描述；已有的标签默认跳过。
$ErrorActionPreference = "Stop"

# Folder of pictures, or of folders named <repeats>_<trigger> <class>.
# 圖片資料夾 / 图片文件夹
$train_data_dir = "./train_data/demo"

# Which captioner: blip-large or florence-2-base.
# 描述模型：blip-large、florence-2-base / 描述模型：blip-large、florence-2-base
$model = "blip-large"

# What florence-2-base is asked: caption, detailed or more_detailed; "" is caption.
# florence-2-base 的詳細程度：caption、detailed、more_detailed / florence-2-base 的详细程度：caption、detailed、more_detailed
$task = ""

# The pictures of all folders below, too.
# 包含所有子資料夾 / 包含所有子文件夹
$recursive = $false

# Add to captions that exist; otherwise such pictures are skipped.
# 附加到已有的標籤，否則略過 / 附加到已有的标签，否则跳过
$append = $false

# Write captions that exist anew.
# 覆寫已有的標籤 / 覆盖已有的标签
$overwrite = $false

# What stands between a caption that exists and what is added.
# 附加時的分隔符 / 附加时的分隔符
$caption_separator = ", "

# Ending of the caption files beside the pictures.
# 標籤檔的副檔名 / 标签文件的扩展名
$caption_extension = ".txt"

# Pictures that are described together.
# 每批圖片數 / 每批图片数
$batch_size = 1

# Threads that decode pictures; 0 is as many as there are processors, at most 8.
# 讀圖執行緒數，0 為自動 / 读图线程数，0 为自动
$max_data_loader_n_workers = 0

# Search for the best words instead of drawing them.
# 以束搜尋選詞，不用抽樣 / 以束搜索选词，不用采样
$beam_search = $false

# Paths of that search, which more than 1 switches on; "" is 1 for blip, 3 for florence.
# 束搜尋寬度，大於 1 即啟用；留空依模型 / 束搜索宽度，大于 1 即启用；留空按模型
$num_beams = ""

# Words are drawn from the likeliest whose probabilities sum to it; "" is 0.9.
# 抽樣範圍，留空為 0.9 / 采样范围，留空为 0.9
$top_p = ""

# Longest caption in tokens; "" is 75.
# 描述最大長度，留空為 75 / 描述最大长度，留空为 75
$max_length = ""

# Shortest caption in tokens.
# 描述最小長度 / 描述最小长度
$min_length = 5

# Seed of the draws; "" is 42.
# 隨機種子，留空為 42 / 随机种子，留空为 42
$seed = ""

# The card or the processor, such as cpu or cuda:1; "" is the NVIDIA card if there is one.
# 運算裝置，留空為自動 / 运算设备，留空为自动
$device = ""

# Show each picture's caption.
# 顯示每張圖的描述 / 显示每张图的描述
$debug = $false

# Folder of the captioners; "" is models/captioners.
# 描述模型資料夾，留空為 models/captioners / 描述模型文件夹，留空为 models/captioners
$model_dir = ""

# Address of an OpenAI-compatible server, to which each picture is then sent; "" sends nothing.
# OpenAI 相容伺服器的網址，圖片會傳送過去；留空不傳送 / OpenAI 兼容服务器的网址，图片会发送过去；留空不发送
$endpoint = ""

# The model's name at that server.
# 伺服器上的模型名稱 / 服务器上的模型名称
$endpoint_model = ""

# Name of the environment variable that holds the key; "" is no key.
# 存放金鑰的環境變數名稱，留空為無 / 存放密钥的环境变量名称，留空为无
$endpoint_key = ""

# What the server is asked of each picture; "" is one sentence.
# 對伺服器的提問，留空為一句描述 / 对服务器的提问，留空为一句描述
$endpoint_prompt = ""

# Longer side in pixels of what is sent.
# 傳送圖片的長邊像素 / 发送图片的长边像素
$endpoint_size = 1024

# Seconds without an answer after which the server is asked again.
# 等待伺服器的秒數 / 等待服务器的秒数
$endpoint_timeout = 120

# ---------- Nothing to change below / 以下不需修改 / 以下不需修改 ----------
. "$PSScriptRoot\lib\hand_over.ps1"
Invoke-Engine -Script $PSCommandPath -Command caption -More $args
