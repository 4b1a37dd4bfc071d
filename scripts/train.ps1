# Trains a LoRA. Change the three variables below, put your pictures in place, and run this file or train.cmd. As it is, it trains on the
# demo's pictures at the rates for real models, which move the tiny built-in one little: the demo itself is demo.cmd.
# 訓練 LoRA。改下面三個變數、放好圖片，執行本檔或 train.cmd；內建範例請執行 demo.cmd。
# 训练 LoRA。改下面三个变量、放好图片，运行本文件或 train.cmd；内置示例请运行 demo.cmd。
#
# Texts and paths stand between quotes; "" is nothing. $true is on, $false is off. Relative paths count from the product's folder.
# 文字與路徑放在引號內，"" 表示不設定；$true 開，$false 關；相對路徑從程式資料夾算起。
# 文字与路径放在引号内，"" 表示不设置；$true 开，$false 关；相对路径从程序文件夹算起。
#
# Arguments win over the variables: train.cmd --network_dim 8. Settings not listed here may be added: $name = value. A variable of
# your own may be called anything, as long as the script uses it.
# 參數優先於變數；configs/reference.toml 列出全部設定，可自行加入。 / 参数优先于变量；configs/reference.toml 列出全部设置，可自行加入。
$ErrorActionPreference = "Stop"

# ---------- Change these three / 修改這三個 / 修改这三个 ----------

# Base model: a .safetensors or .ckpt file, or a diffusers folder. It should know the words of your captions.
# 底模：.safetensors、.ckpt 檔或 diffusers 資料夾，最好認得你的標籤 / 底模：.safetensors、.ckpt 文件或 diffusers 文件夹，最好认得你的标签
$pretrained_model = "./models/micro/micro-sd.safetensors"

# Folder that holds the folders of pictures, each named <repeats>_<trigger> <class>, for instance 6_miku 1girl.
# 訓練集：內含 <重複次數>_<觸發詞> <類別> 子資料夾，如 6_miku 1girl / 训练集：内含 <重复次数>_<触发词> <类别> 子文件夹，如 6_miku 1girl
$train_data_dir = "./train_data/demo"

# Name of the LoRA file and of its folder in output; no ending.
# LoRA 檔名，不含副檔名 / LoRA 文件名，不含扩展名
$output_name = "demo"

# ---------- Pictures and length / 圖片與長度 / 图片与长度 ----------

# Folder of regularisation pictures, laid out like train_data_dir; "" for none, which is best below 30 pictures.
# 正則化圖片資料夾，通常留空；少於 30 張圖不建議使用 / 正则化图片文件夹，通常留空；少于 30 张图不建议使用
$reg_data_dir = ""

# Width,height in pixels. "" is what the base model was made for: 512,512 for SD 1.x, 1024,1024 for SDXL.
# 解析度「寬,高」，留空依底模決定：SD1.x 512，SDXL 1024 / 分辨率「宽,高」，留空依底模决定：SD1.x 512，SDXL 1024
$resolution = ""

# Pictures in a step: 2 to 4 learn evenly; 1 where graphics memory is short.
# 每步圖片數，建議 2 或 4，顯存不足用 1 / 每步图片数，建议 2 或 4，显存不足用 1
$batch_size = 2

# Times that all pictures are gone through. Epochs x repeats of about 100 is a good start.
# 訓練輪數；輪數 x 重複次數約 100 為佳 / 训练轮数；轮数 x 重复次数约 100 为佳
$max_train_epochs = 10

# Save a file every so many epochs; 0 saves the last one only.
# 每幾輪存一次檔，0 只存最後 / 每几轮存一次文件，0 只存最后
$save_every_n_epochs = 2

# ---------- The LoRA and its rates / LoRA 與學習率 / LoRA 与学习率 ----------

# Rank: 32 is enough for most things; the file grows with it (128: 144 MB, 32: 36 MB, 8: 9 MB for SD 1.5).
# 維度，一般 32 就夠；檔案大小成正比 (128: 144MB, 32: 36MB, 8: 9MB) / 维度，一般 32 就够；文件大小成正比 (128: 144MB, 32: 36MB, 8: 9MB)
$network_dim = 32

# Strength of the LoRA is alpha / dim; a quarter to half of the dim is usual.
# alpha，一般為 dim 的 0.25 至 0.5 倍 / alpha，一般为 dim 的 0.25 至 0.5 倍
$network_alpha = 16

# Learning rate of everything that has none of its own below; 1 for Prodigy. Higher learns faster and breaks sooner.
# 總學習率，Prodigy 用 1；太高會學壞 / 总学习率，Prodigy 用 1；太高会学坏
$lr = 1e-4 * $batch_size

# Learning rate of the U-Net; "" is $lr.
# U-Net 學習率，留空同 $lr / U-Net 学习率，留空同 $lr
$unet_lr = 1e-4 * $batch_size

# Learning rate of the text encoder, about a tenth of the U-Net's; "" is $lr.
# 文字編碼器學習率，約 U-Net 的十分之一 / 文本编码器学习率，约 U-Net 的十分之一
$text_encoder_lr = 1e-5 * $batch_size

# Course of the learning rate: constant, constant_with_warmup, linear, cosine, cosine_with_restarts, polynomial.
# 學習率排程 / 学习率调度
$lr_scheduler = "cosine_with_restarts"

# Steps until the learning rate is reached; below 1: a share of all steps, 0.05 is 5 %.
# 預熱步數，小於 1 為總步數的比例 / 预热步数，小于 1 为总步数的比例
$lr_warmup_steps = 0

# Times that cosine_with_restarts begins anew.
# cosine_with_restarts 重啟次數 / cosine_with_restarts 重启次数
$lr_restart_cycles = 1

# Optimizer: AdamW; AdamW8bit saves 0.1 to 0.5 GB on NVIDIA cards; Lion at a third of the rate; Prodigy and Adafactor find their rate.
# 優化器：AdamW、AdamW8bit (省 0.1 至 0.5 GB 顯存)、Lion、Prodigy、Adafactor / 优化器：AdamW、AdamW8bit (省 0.1 至 0.5 GB 显存)、Lion、Prodigy、Adafactor
$optimizer_type = "AdamW"

# ---------- Captions / 標籤 / 标签 ----------

# Which layer of the text encoder is used, from its end: 2 for anime models, 1 for others; SDXL does not use it.
# CLIP 跳層：動漫底模 2，其他 1 / CLIP 跳层：动漫底模 2，其他 1
$clip_skip = 1

# Shuffle the tags of a caption each time it is used, except the first ones.
# 每次打亂標籤順序 / 每次打乱标签顺序
$shuffle_caption = $true

# How many tags at the beginning stay where they are: 1 where captions begin with the trigger word.
# 開頭保留幾個標籤不打亂；觸發詞在最前面時用 1 / 开头保留几个标签不打乱；触发词在最前面时用 1
$keep_tokens = 1

# Ending of the caption files beside the pictures. Pictures without one are called what their folder is called.
# 標籤檔的副檔名；沒有標籤檔時使用資料夾名稱 / 标签文件的扩展名；没有标签文件时使用文件夹名称
$caption_extension = ".txt"

# Longest caption in tokens: 75, 150 or 225.
# 標籤最大長度：75、150、225 / 标签最大长度：75、150、225
$max_token_length = 225

# Share of pictures shown without any caption, 0 to 1; 0.1 keeps a style free of words.
# 不使用標籤的圖片比例 / 不使用标签的图片比例
$caption_dropout_rate = 0

# Share of tags left out each time, 0 to 1; the kept ones always stay.
# 隨機丟棄標籤的比例 / 随机丢弃标签的比例
$caption_tag_dropout_rate = 0

# Text put before every caption.
# 加在每個標籤前的文字 / 加在每个标签前的文字
$caption_prefix = ""

# Draw one line of a caption file, and one member of each {a|b|c}.
# 啟用萬用字元：隨機取一行，{a|b|c} 取其一 / 启用通配符：随机取一行，{a|b|c} 取其一
$enable_wildcard = $false

# Text in captions behind which tags are shuffled, such as |||; instead of counting with keep_tokens.
# 固定標籤的分隔符，如 ||| / 固定标签的分隔符，如 |||
$keep_tokens_separator = ""

# ---------- Sample pictures while training / 訓練中出圖 / 训练中出图 ----------

# Make sample pictures; the page output\<name>\samples.html compares them.
# 訓練中產生預覽圖 / 训练中生成预览图
$output_sample = $true

# File with a prompt a line, with --n --w --h --d --l --s behind it. Where it does not exist, no pictures are made.
# 提示詞檔，每行一個；檔案不存在則不出圖 / 提示词文件，每行一个；文件不存在则不出图
$prompt_file = "$train_data_dir/sample_prompts.txt"

# Sampler: euler_a, euler, ddim, heun, dpmsolver++ and others.
# 採樣器 / 采样器
$sampler = "euler_a"

# Make pictures every so many epochs; 0 makes them at the end only.
# 每幾輪出一次圖，0 只在最後 / 每几轮出一次图，0 只在最后
$sample_every_n_epochs = 2

# ---------- Ways of learning / 訓練方式 / 训练方式 ----------

# Train only the U-Net: less memory, and words keep their meaning.
# 只訓練 U-Net / 只训练 U-Net
$train_unet_only = $false

# Train only the text encoder.
# 只訓練文字編碼器 / 只训练文本编码器
$train_text_encoder_only = $false

# Mirror pictures at random; not where left and right differ.
# 隨機左右翻轉，不對稱的角色勿用 / 随机左右翻转，不对称的角色勿用
$flip_aug = $false

# Shift of the noise for darker and brighter pictures: 0.05 to 0.1; 0 is off.
# 雜訊偏移，0 關閉 / 噪声偏移，0 关闭
$noise_offset = 0

# Give easy noise levels less weight: 5 is usual; 0 is off.
# min-SNR 加權，常用 5，0 關閉 / min-SNR 加权，常用 5，0 关闭
$min_snr_gamma = 0

# Train the 3x3 convolutions too (LoCon): finer texture, a larger file.
# 也訓練卷積層 (LoCon) / 也训练卷积层 (LoCon)
$enable_locon_train = $false

# Rank of the convolutions, where they are trained.
# 卷積層維度 / 卷积层维度
$conv_dim = 4

# Alpha of the convolutions, where they are trained.
# 卷積層 alpha / 卷积层 alpha
$conv_alpha = 1

# LyCORIS, with its own choice of layers: the 3x3 convolutions and the U-Net's ends too.
# 改用 LyCORIS，連卷積層與 U-Net 首尾也訓練 / 改用 LyCORIS，连卷积层与 U-Net 首尾也训练
$enable_lycoris_train = $false

# Its method: lora, loha.
# LyCORIS 演算法：lora、loha / LyCORIS 算法：lora、loha
$algo = "lora"

# Its share of inner activations dropped in training, 0 to 1; 0 for none. LoHa has none.
# LyCORIS 訓練時隨機丟棄的比例，LoHa 沒有 / LyCORIS 训练时随机丢弃的比例，LoHa 没有
$dropout = 0

# Share of inner activations dropped in training, 0 to 1; "" for none.
# 訓練時隨機丟棄的比例 / 训练时随机丢弃的比例
$network_dropout = ""

# Largest norm of one layer's change: 1 keeps a LoRA gentle; 0 is off.
# 限制每層的最大變化，常用 1，0 關閉 / 限制每层的最大变化，常用 1，0 关闭
$scale_weight_norms = 0

# LoRA file to go on from; "" begins anew.
# 從已有的 LoRA 繼續訓練 / 从已有的 LoRA 继续训练
$network_weights = ""

# Take dim and alpha from that file.
# 使用該檔的 dim 與 alpha / 使用该文件的 dim 与 alpha
$dim_from_weights = $false

# Method: networks.lora.
# 訓練方法 / 训练方法
$network_module = "networks.lora"

# Options of the method besides, such as @("rank_dropout=0.1").
# 方法的其他選項 / 方法的其他选项
$network_args = @()

# Options of the optimizer, such as @("weight_decay=0.1", "betas=0.9,0.95").
# 優化器選項 / 优化器选项
$optimizer_args = @()

# Gradients longer than this are shortened; 0 is off.
# 梯度裁剪，0 關閉 / 梯度裁剪，0 关闭
$max_grad_norm = 1

# Exponent of the schedule polynomial.
# polynomial 的指數 / polynomial 的指数
$lr_scheduler_power = 1

# Weight of regularisation pictures in the loss.
# 正則化圖片的權重 / 正则化图片的权重
$prior_loss_weight = 1

# Weight every noise level by 1 / sqrt(SNR).
# 去偏估計損失 / 去偏估计损失
$debiased_estimation_loss = $false

# First noise level that is trained, 0 to 999.
# 最小時間步 / 最小时间步
$min_timestep = 0

# End of the noise levels that are trained, 1 to 1000.
# 最大時間步 / 最大时间步
$max_timestep = 1000

# ---------- Buckets: sizes of the pictures / 分桶 / 分桶 ----------

# Group pictures by shape instead of cutting all to one; no need to crop them yourself.
# 依長寬比分組，不必自行裁切 / 按宽高比分组，不必自行裁切
$enable_bucket = $true

# Shortest side of a bucket in pixels; "" is 256, or half of a smaller resolution.
# 最小邊長，留空為 256 / 最小边长，留空为 256
$min_bucket_reso = ""

# Longest side of a bucket in pixels; "" is 1024, for SDXL 2048.
# 最大邊長，留空為 1024，SDXL 2048 / 最大边长，留空为 1024，SDXL 2048
$max_bucket_reso = ""

# Sides of buckets are multiples of this, in pixels.
# 邊長的倍數 / 边长的倍数
$bucket_reso_steps = 64

# Never enlarge a small picture; it gets a smaller bucket.
# 不放大小圖 / 不放大小图
$bucket_no_upscale = $false

# ---------- The machine / 機器 / 机器 ----------

# Number format: bf16 (RTX 30 and newer), fp16 or no; "" is the best that the device has.
# 精度：bf16、fp16、no，留空自動選擇 / 精度：bf16、fp16、no，留空自动选择
$mixed_precision = ""

# Where to train: cuda, cuda:1 for the second card, cpu; "" is the first card, if any.
# 訓練裝置，留空自動選擇 / 训练设备，留空自动选择
$device = ""

# Much less graphics memory, about 30 % slower.
# 梯度檢查點：省顯存，約慢 30% / 梯度检查点：省显存，约慢 30%
$gradient_checkpointing = $false

# Batches gathered before each step: a larger batch without more memory.
# 梯度累積步數 / 梯度累积步数
$gradient_accumulation_steps = 1

# Attention by the xformers package instead of PyTorch's own, which computes the same and is as fast.
# 使用 xformers；內建注意力結果相同 / 使用 xformers；内置注意力结果相同
$xformers = $false

# Equal seeds and settings give equal results.
# 隨機種子，相同設定可重現結果 / 随机种子，相同设置可重现结果
$seed = 1337

# Draw another seed for each run, and say which.
# 每次使用隨機種子 / 每次使用随机种子
$random_seed = $false

# Encode every picture once and keep it in cache.
# 預先編碼圖片並保存 / 预先编码图片并保存
$cache_latents = $true

# Pictures encoded at once.
# 一次編碼的圖片數 / 一次编码的图片数
$vae_batch_size = 1

# Steps instead of epochs; "" for none. Epochs win.
# 訓練步數，設定輪數時不使用 / 训练步数，设置轮数时不使用
$max_train_steps = ""

# ---------- Files / 檔案 / 文件 ----------

# Format of the file; other formats can run code when they are opened.
# 檔案格式 / 文件格式
$save_model_as = "safetensors"

# Number format in the file: fp16, bf16 or float.
# 儲存精度 / 保存精度
$save_precision = "fp16"

# Save a file every so many steps; 0 is off.
# 每幾步存一次檔 / 每几步存一次文件
$save_every_n_steps = 0

# Keep the files of the last so many epochs; 0 keeps all.
# 只保留最後幾輪的檔案，0 全部保留 / 只保留最后几轮的文件，0 全部保留
$save_last_n_epochs = 0

# Folder of everything that a run writes.
# 輸出資料夾 / 输出文件夹
$output_dir = "./output"

# Folder of the logs that tensorboard.cmd shows.
# 記錄資料夾 / 日志文件夹
$logging_dir = "./logs"

# Your note, written into the file.
# 寫入檔案的備註 / 写入文件的备注
$training_comment = ""

# Another VAE than the model's own: a file or a folder.
# 另外指定 VAE / 另外指定 VAE
$vae = ""

# Which model it is: recognised from the file (sd1.5, sdxl).
# 模型種類，自動辨識 / 模型种类，自动识别
$model_type = ""

# 1 where the model predicts v and its file does not say so.
# v 預測模型填 1，一般自動辨識 / v 预测模型填 1，一般自动识别
$parameterization = 0

# A dataset file of sd-scripts instead of train_data_dir; "" for none.
# sd-scripts 的資料集設定檔 / sd-scripts 的数据集配置文件
$dataset_config = ""

# A file of settings (.toml) that wins over all variables here; "" for none.
# 設定檔 (.toml)，優先於此處的變數 / 配置文件 (.toml)，优先于此处的变量
$config_file = ""

# ---------- No effect here, kept for old scripts / 此處無作用 / 此处无作用 ----------

# Pictures are read by threads that stay.
# 讀圖執行緒，不需設定 / 读图线程，不需设置
$persistent_data_loader_workers = $false

# The model is always read part by part.
# 低記憶體模式，不需設定 / 低内存模式，不需设置
$lowram = $false

# Logs are always named after the run.
# 記錄一律以輸出檔名命名 / 日志总是以输出文件名命名
$log_as_outputname = $false

# ---------- Not available, or not yet: $true stops with a message / 尚未支援 / 尚未支持 ----------

# check.cmd shows the pictures as the trainer sees them.
# 檢視資料集請用 check.cmd / 查看数据集请用 check.cmd
$debug_dataset = $false

# Stop training the text encoder after so many steps.
# 在第幾步停止訓練文字編碼器 / 在第几步停止训练文本编码器
$stop_text_encoder_training = 0

# Save the optimizer's state too, and go on from one.
# 保存訓練狀態 / 保存训练状态
$save_state = $false

# Folder of a saved state to go on from.
# 從保存的狀態繼續 / 从保存的状态继续
$resume = ""

# Several cards at once.
# 多顯卡訓練 / 多显卡训练
$multi_gpu = $false

# Learning rates by block.
# 分層學習率 / 分层学习率
$block_weight_lr = $false

# Twelve weights of the IN blocks.
# IN 區塊的十二個權重 / IN 区块的十二个权重
$down_lr_weight = "1,1,1,1,1,1,1,1,1,1,1,1"

# The weight of the MID block.
# MID 區塊的權重 / MID 区块的权重
$mid_lr_weight = "1"

# Twelve weights of the OUT blocks.
# OUT 區塊的十二個權重 / OUT 区块的十二个权重
$up_lr_weight = "1,1,1,1,1,1,1,1,1,1,1,1"

# Ranks by block.
# 分層維度 / 分层维度
$block_weight_dim = $false

# Twenty-five ranks.
# 二十五個維度 / 二十五个维度
$block_dims = "4,32,32,4,32,32,4,32,32,4,4,4,32,4,4,4,32,32,32,32,32,32,32,32,32"

# Twenty-five alphas.
# 二十五個 alpha / 二十五个 alpha
$block_alphas = "1,16,16,1,16,16,1,16,16,1,1,1,16,1,1,1,16,16,16,16,16,16,16,16,16"

# Logs at wandb: never, a run talks to no server.
# 不支援 wandb，訓練不連接伺服器 / 不支持 wandb，训练不连接服务器
$use_wandb = $false

# Its key.
# wandb 金鑰 / wandb 密钥
$wandb_api_key = ""

# Its name for the run.
# wandb 執行名稱 / wandb 运行名称
$log_tracker_name = ""

# ---------- Nothing to change below / 以下不需修改 / 以下不需修改 ----------
. "$PSScriptRoot\lib\hand_over.ps1"
Invoke-Engine -Script $PSCommandPath -Command train -More $args
